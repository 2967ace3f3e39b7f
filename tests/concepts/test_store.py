"""The concepts on disk: what readers get, and that shards survive kills and changes of the corpus."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.concepts import shards
from autolora.concepts.shards import close_shards, read_gradients, save_gradient, stored_keys
from autolora.concepts.store import images_path, load_concepts, phrases_path
from autolora.errors import MissingArtifact
from autolora.storage.files import write_rows
from tests.concepts.corpora import write_files

IMAGES = {"red cat": "c", "blue cat": "c", "red dog": "f"}
"""caption -> family of the adapter"""


def gradient(seed: int) -> Tensor:
    """Return a random gradient whose slots differ in norm by orders of magnitude."""
    values = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return values * torch.tensor([1e-6, 1.0, 1e3])[:, None, None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository with three captioned images and two concepts."""
    rows = []
    for number, (caption, family) in enumerate(IMAGES.items()):
        save_gradient(tmp_path, f"key{number}", gradient(number))
        rows.append(
            {"sha256": f"{number}", "caption": caption, "source": "renderings", "families": [family]}
            | {"gradient": f"key{number}"}
        )
    close_shards(tmp_path, stored_keys(tmp_path))
    write_rows(images_path(tmp_path), rows)
    write_rows(
        phrases_path(tmp_path), [{"phrase": "cat", "images": [0, 1]}, {"phrase": "red", "images": [0, 2]}]
    )
    return tmp_path


def test_rows_are_mean_gradients_less_the_mean_of_all_images(root: Path) -> None:
    loaded = load_concepts(root)
    gradients = torch.stack([gradient(seed) for seed in range(3)])
    unit = gradients / gradients.flatten(2).norm(dim=2).mean(dim=0)[:, None, None]
    expected = torch.stack([unit[[0, 1]].mean(dim=0), unit[[0, 2]].mean(dim=0)]) - unit.mean(dim=0)
    torch.testing.assert_close(
        loaded.rows, expected, atol=2e-3, rtol=0
    )  # float16 relative to a slot's largest entry
    cat, red = loaded.concepts
    assert (cat.phrase, cat.captions, cat.families) == ("cat", ("red cat", "blue cat"), {"c"})
    assert red.families == {"c", "f"}
    assert loaded.captions == tuple(IMAGES)


def test_an_image_with_two_captions_counts_twice(root: Path) -> None:
    rows = [
        {"sha256": "0", "caption": caption, "source": "a.png", "families": [], "gradient": key}
        for caption, key in {"a": "key0", "b": "key0", "c": "key1"}.items()
    ]
    write_rows(images_path(root), rows)
    write_rows(phrases_path(root), [{"phrase": "a", "images": [0]}])
    gradients = torch.stack([gradient(seed) for seed in (0, 0, 1)])
    unit = gradients / gradients.flatten(2).norm(dim=2).mean(dim=0)[:, None, None]
    torch.testing.assert_close(load_concepts(root).rows[0], unit[0] - unit.mean(dim=0), atol=2e-3, rtol=0)


def test_an_empty_table_has_no_concepts(tmp_path: Path) -> None:
    write_rows(images_path(tmp_path), [])
    write_rows(phrases_path(tmp_path), [])
    loaded = load_concepts(tmp_path)
    assert (loaded.concepts, loaded.captions, len(loaded.rows)) == ((), (), 0)


def test_before_the_first_run_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="the stage 'concepts' has not run"):
        load_concepts(tmp_path)


def test_shards_hold_at_most_so_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "IMAGES_PER_SHARD", 2)
    for number in range(5):
        save_gradient(tmp_path, f"key{number}", gradient(number))
    close_shards(tmp_path, stored_keys(tmp_path))
    assert [len(keys) for keys, _ in read_gradients(tmp_path, stored_keys(tmp_path))].count(2) == 2
    assert len(list((tmp_path / "data/concepts/gradients").iterdir())) == 3
    assert not (tmp_path / "data/concepts/open").exists()


def test_unwanted_gradients_leave_their_shard(root: Path) -> None:
    close_shards(root, {"key0", "key2"})
    ((keys, gradients),) = read_gradients(root, {"key0", "key2"})
    assert keys == ("key0", "key2")
    torch.testing.assert_close(gradients[1], gradient(2), atol=0, rtol=0.01)
    close_shards(root, set())
    assert stored_keys(root) == set()
    assert not list((root / "data/concepts/gradients").iterdir())


def test_a_kill_between_shard_and_cleanup_leaves_each_gradient_once(root: Path) -> None:
    save_gradient(root, "key1", gradient(1))
    write_files(root / "data/concepts/gradients", {".shard.safetensors.tmp": "a part"})
    assert sum(len(keys) for keys, _ in read_gradients(root, {"key0", "key1", "key2"})) == 3
    close_shards(root, {"key0", "key1", "key2"})
    assert len(list((root / "data/concepts/gradients").iterdir())) == 1
    assert stored_keys(root) == {"key0", "key1", "key2"}


@pytest.mark.parametrize(
    "prefix", "abcdef"
)  # the names of shards depend on the keys, and so does their order
def test_a_kill_between_reduced_and_former_shard_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    for number in range(3):
        save_gradient(tmp_path, f"{prefix}{number}", gradient(number))
    close_shards(tmp_path, stored_keys(tmp_path))
    wanted = {f"{prefix}0", f"{prefix}2"}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", raise_interrupt)
        close_shards(tmp_path, wanted)
    assert len(list((tmp_path / "data/concepts/gradients").iterdir())) == 2
    close_shards(tmp_path, wanted)
    assert stored_keys(tmp_path) == wanted
    assert len(list((tmp_path / "data/concepts/gradients").iterdir())) == 1


def raise_interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_missing_gradient_and_a_damaged_shard_are_errors(root: Path) -> None:
    with pytest.raises(MissingArtifact, match="contains no gradient of 1 images"):
        list(read_gradients(root, {"key0", "key9"}))
    (shard,) = (root / "data/concepts/gradients").iterdir()
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(MissingArtifact, match=r"is damaged .* delete it and"):
        load_concepts(root)
