"""`autolora index` with files, folders and values that are missing, damaged or change during a run."""

import os
import shutil
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from autolora.errors import AutoLoraError, MissingArtifact, ParamsError, ReadingFailed
from autolora.index.store import content_digest
from autolora.local import header_texts, indexing, reading
from autolora.local.scan import scan
from autolora.lora.slots import slots
from autolora.models import transformer_config
from autolora.params import load
from autolora.pool.weights import load_lora
from autolora.search.retriever import open_retriever
from autolora.storage.lock import exclusive_lock
from tests.local.own_folder import (
    FILES,
    POOL,
    TODAY,
    copy,
    first_hit,
    images_of,
    index,
    set_params,
    weights_of,
)

pytestmark = pytest.mark.slow


def test_a_file_that_cannot_be_read_is_named_and_tried_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = reading.read_adapter

    def failing(path: Path, *rest: Any) -> Any:
        if path.name == "file0.safetensors":
            raise PermissionError(13, "Permission denied")
        return original(path, *rest)

    monkeypatch.setattr(reading, "read_adapter", failing)
    report = index(root)
    assert report.problems == (f"{root.parent}/loras/file0.safetensors cannot be read: Permission denied",)
    monkeypatch.setattr(reading, "read_adapter", original)
    assert index(root).changes["embedded"] == 1


EMPTY_HEADER = (2).to_bytes(8, "little") + b"{}"
FULL_MODEL = b'{"img_in.weight":{"dtype":"F32","shape":[50000000000],"data_offsets":[0,200000000000]}}'


@pytest.mark.parametrize("max_file_mb", [1000, 10**9])
@pytest.mark.parametrize(
    "text",
    [EMPTY_HEADER, len(FULL_MODEL).to_bytes(8, "little") + FULL_MODEL],
    ids=["empty header", "full model"],
)
def test_what_cannot_be_a_lora_is_not_read_to_its_end(
    root: Path, folder: Path, text: bytes, max_file_mb: int
) -> None:
    """Sparse files of 200 GB, which hashing would take minutes for."""
    large = folder / "large.safetensors"
    large.write_bytes(text)
    os.truncate(large, len(text) + 200_000_000_000)
    set_params(root, {"crawl.max_file_mb": max_file_mb})
    found = scan(root, folder, load(root / "params.yaml").crawl, TODAY, load(root / "params.yaml").pool)
    if max_file_mb == 1000:
        assert (len(found.listings), found.rejected, found.problems) == (4, {"max_file_mb": 1}, ())
    else:
        (problem,) = found.problems
        assert "folder:large.safetensors cannot be read" in problem and (
            "LoRA" in problem or "header" in problem
        )


@pytest.fixture
def ten_files(folder: Path) -> Path:
    """Return the project's folder with ten different LoRAs."""
    others = (path for path in sorted(POOL.glob("*/*/*.safetensors")) if path not in map(weights_of, FILES))
    for number, path in enumerate(islice(others, 10 - len(FILES))):
        shutil.copyfile(path, folder / f"other{number}.safetensors")
    return folder


@pytest.mark.parametrize(
    ("where", "name"), [(reading, "read_adapter"), (header_texts, "read_facts")], ids=["reading", "header"]
)
def test_an_unexpected_error_costs_one_file(
    root: Path,
    ten_files: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    where: ModuleType,
    name: str,
) -> None:
    bad, original = ten_files / "file0.safetensors", getattr(where, name)
    save_file(load_file(bad), bad, {"marker": "bad"})

    def failing(first: Any, *rest: Any) -> Any:
        if first == bad or (isinstance(first, dict) and first.get("marker")):
            raise RuntimeError("injected")
        return original(first, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(where, name, failing)
        report = index(root)
    assert "RuntimeError: injected" in caplog.text
    if where is reading:
        problem = f"{bad} cannot be read: unexpected RuntimeError, whose traceback is in the log"
        assert report.problems == (problem,) and report.changes["embedded"] == 9
        assert index(root).changes["embedded"] == 1
    else:
        assert report.problems == () and report.changes["embedded"] == 10


def test_an_image_that_fails_unexpectedly_is_named_and_tried_again(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(images_of("cat")[0], folder / "file0.png")
    original = reading.check_image

    def failing(*arguments: Any) -> Any:
        raise RuntimeError("injected")

    monkeypatch.setattr(reading, "check_image", failing)
    report = index(root)
    (problem,) = report.problems
    assert "file0.png cannot be read: unexpected RuntimeError" in problem
    assert (report.images, report.refused_images, report.changes["embedded"]) == (0, 0, 3)
    monkeypatch.setattr(reading, "check_image", original)
    assert index(root).images == 1


def test_an_error_of_most_files_keeps_the_index(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = index(root).index
    set_params(root, {"pool.max_rank": 100})  # all files are read again

    def failing(path: Path, *rest: Any) -> Any:
        raise RuntimeError("injected")

    monkeypatch.setattr(reading, "read_adapter", failing)
    with pytest.raises(ReadingFailed, match=r"3 files cannot be read, .* the index was not changed: .*file"):
        index(root)
    assert content_digest(root) == before and first_hit(root) == "file0"


def test_files_that_disappear_during_a_run_are_named(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(images_of("duck")[0], folder / "deep" / "file1.png")
    original = indexing.link_files

    def removing(*arguments: Any) -> None:
        (folder / "file0.safetensors").unlink()
        (folder / "deep" / "file1.png").unlink()
        original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(indexing, "link_files", removing)
        report = index(root)
    assert (
        sorted(problem.rpartition(": ")[2] for problem in report.problems)
        == ["No such file or directory"] * 2
    )
    assert report.verdicts == {"accepted": ["deep/file1", "deep/file2"]}
    assert index(root).problems == ()


def test_one_process_at_a_time(root: Path) -> None:
    with exclusive_lock(root), pytest.raises(AutoLoraError, match="another process is changing"):
        index(root)


def test_a_missing_folder_is_an_error_and_keeps_the_index(root: Path, folder: Path) -> None:
    index(root)
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(MissingArtifact, match="check that it is mounted"):
        index(root)
    assert first_hit(root) == "file0"


def test_a_folder_without_lora_files_is_an_error_and_keeps_the_index(root: Path, folder: Path) -> None:
    before = index(root).index
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_suffix(".pt"))
    with pytest.raises(MissingArtifact, match=r"contain no LoRA file \(\.safetensors\): give the folder"):
        index(root)
    assert content_digest(root) == before and first_hit(root) == "file0"


def test_a_file_that_changed_after_the_index_is_not_used(root: Path, folder: Path) -> None:
    index(root)
    params = load(root / "params.yaml")
    base = slots(transformer_config(params.models))
    sha256 = open_retriever(root).search("a cat", k=1)[0].sha256
    copy("duck", folder / "file0.safetensors")
    with pytest.raises(MissingArtifact, match="has changed since it was indexed: run `autolora index`"):
        load_lora(root, sha256, base, params.pool)
    (folder / "file0.safetensors").unlink()
    with pytest.raises(MissingArtifact, match="was moved or deleted since it was indexed"):
        load_lora(root, sha256, base, params.pool)


def test_a_missing_folder_is_an_error(root: Path) -> None:
    set_params(root, {"hubs.folder.path": None})
    with pytest.raises(ParamsError, match=r"hubs.folder.path is null: give the folder"):
        index(root)


def test_an_encoder_for_other_sketches_is_refused(root: Path) -> None:
    set_params(root, {"pool.sketch_size": 16})
    with pytest.raises(AutoLoraError, match=r"set pool.sketch_size in params.yaml to 32"):
        index(root)
