"""Clones, old and new releases, and several remotes."""

from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from flows import dvc_objects
from tests.flows.takedown.erasure import ERASED, empty_objects, enter, objects, take_down
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import BATCH, CAT, DOG

pytestmark = pytest.mark.slow


def test_old_and_new_releases_are_pulled_and_checked_out(root: Path, tmp_path: Path) -> None:
    take_down("civitai:7")
    repo.commit(root, "takedown")
    for rev in ("old", "HEAD"):
        clone = tmp_path / f"clone-{rev}"
        repo.run(tmp_path, "git", "clone", "-q", str(root), str(clone))
        repo.run(clone, "git", "checkout", "-q", repo.run(root, "git", "rev-parse", rev).strip())
        repo.run(clone, "dvc", "remote", "modify", "--local", "store", "url", str(root.parent / "store"))
        repo.run(clone, "dvc", "pull")
        assert repo.contents(clone) == ERASED
        for sha256 in (CAT, DOG):
            path = clone / f"data/pool/batches/{BATCH}/weights/{sha256}.safetensors"
            assert path.read_bytes() == repo.content(sha256)
        assert "up to date" in repo.run(clone, "dvc", "status")
    for rev in ("old", "-"):
        repo.run(root, "git", "checkout", "-q", rev)
        repo.run(root, "dvc", "checkout")
        assert repo.contents(root) == ERASED
        repo.run(root, "dvc", "push")
    assert len(objects(root)["store"]) == 2, "a push restores nothing"


def test_every_remote_is_emptied_and_one_that_fails_is_named(root: Path) -> None:
    repo.add_remote(root, "second", "../second")
    repo.add_remote(root, "gone", "../gone")
    repo.run(root, "dvc", "push", "-q", "-r", "second")
    with pytest.raises(
        AutoLoraError, match=r"not complete: remote gone: the folder \S+ does not exist: mount"
    ):
        take_down("civitai:7")
    assert objects(root)["store"] == empty_objects(root.parent / "second/files") != set()
    assert (root.parent / f"second/files/md5/{dvc_objects.EMPTY_MD5[:2]}").exists()
    (root.parent / "gone").mkdir()
    take_down()
    assert not list((root.parent / "gone").rglob("*.dir")), (
        "a remote gets no list of files that it does not have"
    )


def test_a_fresh_clone_erases_in_remotes_what_it_has_not_pulled(root: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    repo.run(tmp_path, "git", "clone", "-q", str(root), str(clone))
    repo.run(clone, "dvc", "remote", "modify", "--local", "store", "url", str(root.parent / "store"))
    with pytest.MonkeyPatch.context() as patch:
        enter(clone, patch)
        (clone / "data/pool/renderings.jsonl").write_bytes((root / "data/pool/renderings.jsonl").read_bytes())
        take_down("civitai:7")
    assert len(objects(root)["store"]) == 2
    repo.run(clone, "dvc", "pull")
    assert repo.contents(clone) == ERASED


def test_a_clone_with_a_full_cache_completes_the_list_that_it_received(root: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    repo.run(tmp_path, "git", "clone", "-q", str(root), str(clone))
    repo.run(clone, "dvc", "remote", "modify", "--local", "store", "url", str(root.parent / "store"))
    repo.run(clone, "dvc", "pull", "-q")
    take_down("civitai:7")
    repo.commit(root, "takedown")
    repo.run(clone, "git", "pull", "-q", str(root), repo.run(root, "git", "branch", "--show-current").strip())
    repo.run(clone, "dvc", "pull", "-q")
    assert repo.contents(clone) == ERASED and not empty_objects(clone / ".dvc/cache/files")
    with pytest.MonkeyPatch.context() as patch:
        enter(clone, patch)
        take_down()
    assert len(empty_objects(clone / ".dvc/cache/files")) == 2
    assert repo.run(clone, "git", "status", "--porcelain") == ""
