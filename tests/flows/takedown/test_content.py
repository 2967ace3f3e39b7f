"""Content is erased in the tree, DVC's cache and the remote; other adapters and images stay."""

from pathlib import Path

import pytest
import yaml

from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from tests.flows.takedown.erasure import CHANGED, ERASED, FULL, objects, take_down
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import BATCH, DOG, INK, SHARED

pytestmark = pytest.mark.slow


def test_content_is_erased_in_the_tree_the_cache_and_the_remote(root: Path) -> None:
    take_down("civitai:7")
    assert repo.contents(root) == ERASED
    md5s = {md5 for row in takedowns.read(root).rows for md5 in row.md5}
    assert len(md5s) == 2 and objects(root) == {"cache": md5s, "store": md5s}
    assert {item.id for item in catalog.read_active(root)} == {"bob/cat", "bob/dog"}
    for folder in (root / ".dvc/cache/files", root.parent / "store/files"):
        modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
        assert modes == {0o444}, (
            "DVC hashes objects that can be written, and removes those with another content"
        )


def test_dvc_sees_a_clean_repository_and_runs_nothing(root: Path) -> None:
    take_down("civitai:7")
    assert "up to date" in repo.run(root, "dvc", "status")
    assert "didn't change, skipping" in repo.run(root, "dvc", "repro"), "a crawl would fail"
    repo.run(root, "dvc", "checkout")
    assert repo.contents(root) == ERASED
    content = yaml.safe_load((root / CHANGED[2]).read_text())["outs"][0]
    assert (content["size"], content["nfiles"]) == (4 * FULL, 6)
    repo.run(root, "dvc", "add", f"data/pool/batches/{BATCH}")
    assert yaml.safe_load((root / CHANGED[2]).read_text())["outs"][0] == content, "as DVC writes it"


def test_other_damage_in_the_batch_is_not_recorded(root: Path) -> None:
    path = root / f"data/pool/batches/{BATCH}/weights/{DOG}.safetensors"
    path.unlink()
    path.write_bytes(b"damaged")
    take_down("civitai:7")
    status = repo.run(root, "dvc", "data", "status", "--granular").partition("uncommitted changes")[2]
    assert f"modified: data/pool/batches/{BATCH}/weights/{DOG}.safetensors" in status and INK not in status


def test_an_image_alone_leaves_its_files_active(root: Path) -> None:
    take_down(SHARED)
    listings = catalog.read_active(root)
    assert len(listings) == 4 and SHARED not in str([item.renderings for item in listings])
    assert repo.contents(root)[SHARED] == 0 and repo.contents(root)[INK] == FULL


def test_a_batch_without_a_dvc_file_is_emptied_in_the_tree_and_in_its_former_versions(root: Path) -> None:
    (root / CHANGED[2]).unlink()
    repo.commit(root, "no .dvc file")
    take_down("civitai:7")
    assert repo.contents(root) == ERASED and len(objects(root)["store"]) == 2
    assert not (root / CHANGED[2]).exists()
