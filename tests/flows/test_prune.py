"""Prune: all that a kept release needs stays, also if it is killed; what only others need goes."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo  # type: ignore[import-untyped]

from autolora.errors import AutoLoraError
from autolora.index.content import read_verified
from autolora.index.served import open_index, release
from autolora.index.store import content_digest
from autolora.models import ClipTextEncoder
from autolora.releases.pin import Pin, write_pin
from autolora.releases.tags import release_tags
from flows import dvc_objects, git, prune
from playground.repository import IDENTITY
from tests.index.versions import reindex
from tests.support import killing
from tests.support.synthetic_repo import (
    ENCODER,
    make_adapter,
    make_adapters,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)

pytestmark = pytest.mark.slow

RELEASES, KEEP = 4, 2
FIRST = date(2026, 1, 5)
TODAY = FIRST + timedelta(days=40)
TAGS = [f"release/{FIRST + timedelta(days=day)}" for day in range(RELEASES)]
OLD, NEW = f"refused/{FIRST}", f"refused/{TODAY}-2"
FIRST_CHANGE, LAST_CHANGE = 15, {False: 50, True: 69}
"""numbers of the calls before which a prune is killed: the first ones only read; with the remote, more follow"""
MODULES = (prune, git, dvc_objects)


def run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, text=True, capture_output=True)
    assert not done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def dvc(root: Path, *arguments: str) -> str:
    return run(root, sys.executable, "-m", "dvc", *arguments)


def checkout(root: Path, name: str) -> None:
    """Check out a revision, as git and `dvc checkout` do; raises if an object is missing."""
    run(root, "git", "checkout", "-q", "--force", "--detach", name)
    with Repo(str(root)) as repo:
        repo.checkout(force=True)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder) -> Path:
    """A repository `repo` of five releases and two refused runs, its remotes `origin` and `store`; to be copied."""
    folder = tmp_path_factory.mktemp("template")
    root, adapters = folder / "repo", make_adapters(themes=("mosaic", "neon", "chalk"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        write_repository(root, adapters)
        write_dataset(root)
        write_encoder(root, text_encoder, ENCODER)
        write_index(root)
        run(folder, "git", "init", "-q", "--bare", "origin")
        run(root, "git", "init", "-q", "-b", "main")
        dvc(root, "init", "-q")
        dvc(root, "config", "cache.type", "hardlink,copy")
        dvc(root, "remote", "add", "-q", "-d", "store", "../store")
        (root / ".gitignore").write_text("/cache\n")
        for day, tag in enumerate(TAGS):
            adapters[day] = make_adapter("pixel", day, FIRST + timedelta(days=day))
            commit(root, reindex(root, adapters), tag)
            run(root, "git", "tag", "-a", "-m", tag, tag)
            release(root, content_digest(root))
        for number, branch in enumerate((OLD, NEW)):
            run(root, "git", "checkout", "-q", "-b", branch)
            commit(root, reindex(root, adapters[: 6 + number]), branch)
            run(root, "git", "checkout", "-q", "main")
        checkout(root, "main")
        run(root, "git", "checkout", "-q", "main")
        run(root, "git", "remote", "add", "origin", "../origin")
        run(root, "git", "push", "-q", "-u", "origin", "main", "--tags")
    return folder


def commit(root: Path, digest: str, name: str) -> None:
    """Commit the index, and a batch of the pool that the releases after it have too."""
    batch = root / "data/pool/batches" / name.replace("/", "-")
    batch.mkdir(parents=True)
    (batch / "weights").write_text(digest)
    with Repo(str(root)) as repo:
        repo.add([str(root / "data/index"), str(batch)])
    run(root, "git", "add", "-A", "data/index.dvc", "data/pool/batches", "digests", ".dvc", ".gitignore")
    run(root, "git", "commit", "-q", "-m", name)
    with Repo(str(root)) as repo:
        repo.push()  # not all tags at once: DVC takes a relative URL for one below / then


def enter(template: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the template, hard links included, to a folder, and make its repository the current one."""
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    for module in MODULES:
        monkeypatch.setattr(module, "ROOT", folder / "repo")
    monkeypatch.setattr(prune, "today", lambda: TODAY)
    monkeypatch.chdir(folder / "repo")
    return folder / "repo"


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter(template, tmp_path / "copy", monkeypatch)


def apply(keep: int | None = KEEP, days: int = 30, with_remote: bool = False) -> None:
    prune.prune_all(keep, days, with_remote, is_applied=True)


def tags(root: Path) -> list[str]:
    return run(root, "git", "tag", "--list").split()


def objects(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_complete(root: Path, names: Sequence[str]) -> None:
    """Search each release, and check it out in the project itself, without the remote."""
    store, away = root.parent / "store", root.parent / "away"
    store.rename(away)
    shutil.rmtree(root / "cache/index", ignore_errors=True)
    indexes = {tag.name: tag.index for tag in release_tags(root)}
    shutil.rmtree(root / "data/index")
    shutil.rmtree(root / "data/pool/batches")
    for name in names:
        assert open_index(root, name).digest == indexes[name]
        checkout(root, name)
        assert content_digest(root) == indexes[name]
        read_verified(root / "data/index", indexes[name])  # checks each row
        folders = [root / "data/pool/batches" / tag.replace("/", "-") for tag in TAGS[: TAGS.index(name) + 1]]
        assert (folders[-1] / "weights").read_text() == indexes[name]
        assert all((folder / "weights").exists() for folder in folders)
    checkout(root, "main")
    run(root, "git", "checkout", "-q", "main")
    away.rename(store)


def test_a_dry_run_changes_nothing_and_names_what_may_go(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = objects(root.parent)
    prune.prune_all(KEEP, 30, with_remote=True, is_applied=False)
    assert objects(root.parent) == before
    text = " ".join(capsys.readouterr().out.split())
    assert "release/2026-01-05 … release/2026-01-06 (2) " in text and f"{OLD} " in text
    assert "DVC's cache" in text and "the DVC remote" in text and "add --apply" in text


def test_what_a_kept_release_needs_stays_and_the_rest_goes(root: Path) -> None:
    remote, cache = objects(root.parent / "store"), objects(root / ".dvc/cache/files")
    apply()
    assert tags(root) == TAGS[-KEEP:]
    assert run(root, "git", "branch", "--list", "refused/*").split() == [NEW]
    assert run(root, "git", "ls-remote", "--tags", "--refs", "origin").count("refs/tags/") == KEEP
    assert objects(root.parent / "store") == remote
    assert len(objects(root / ".dvc/cache/files")) < len(cache)
    assert_complete(root, TAGS[-KEEP:])
    dvc(root, "gc", "--workspace", "--all-branches", "--all-tags", "--force", "--quiet")
    left = objects(root / ".dvc/cache/files")
    apply()
    assert objects(root / ".dvc/cache/files") == left  # DVC itself finds nothing else


def test_without_keep_all_releases_stay(root: Path) -> None:
    apply(keep=None)
    assert tags(root) == TAGS
    assert len([*(root / "cache/index").iterdir()]) == prune.COPIES
    assert_complete(root, TAGS)


def test_the_remote_is_pruned_on_demand_and_has_what_a_kept_release_needs(root: Path, tmp_path: Path) -> None:
    remote = objects(root.parent / "store")
    apply(with_remote=True)
    assert objects(root.parent / "store") < remote
    run(tmp_path, "git", "clone", "-q", str(root.parent / "origin"), "copy/clone")
    clone = tmp_path / "copy/clone"
    for name in tags(clone):
        run(clone, "git", "checkout", "-q", name)
        with Repo(str(clone)) as repo:
            repo.pull()


def test_a_release_of_another_clone_keeps_the_remote_as_it_is(root: Path) -> None:
    run(root, "git", "tag", "-d", TAGS[1])
    before = objects(root.parent)
    with pytest.raises(AutoLoraError, match=f"origin has {TAGS[1]}, .*`git fetch --tags`"):
        apply(with_remote=True)
    assert objects(root.parent) == before


def test_the_served_and_the_pinned_release_stay(root: Path) -> None:
    release(root, open_index(root, TAGS[0]).digest)
    write_pin(root, Pin(release=TAGS[1], day="2026-01-05", reason="r"))
    apply()
    assert tags(root) == [*TAGS[:2], *TAGS[-KEEP:]]
    assert open_index(root).digest == open_index(root, TAGS[0]).digest
    assert_complete(root, tags(root))


def test_a_served_index_without_a_tag_can_be_fetched(root: Path) -> None:
    served = open_index(root, TAGS[0]).digest
    release(root, served)
    run(root, "git", "tag", "-d", TAGS[0])
    apply()
    shutil.rmtree(root / "cache/index")
    assert open_index(root).digest == served


def test_what_a_copy_shares_with_others_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "ROOT", tmp_path)
    old, kept = tmp_path / "copies/old", tmp_path / "copies/kept"
    for folder in (old, kept):
        folder.mkdir(parents=True)
    (old / "columns.arrow").write_bytes(b"1" * 7)
    (kept / "language_model.safetensors").write_bytes(b"2" * 100)
    os.link(kept / "language_model.safetensors", old / "language_model.safetensors")
    assert prune._folder(old, "no kept release has it").size == 7


def test_a_locked_repository_is_an_error(root: Path) -> None:
    with Repo(str(root)).lock, pytest.raises(AutoLoraError, match=r"DVC: .*lock"):
        apply()


def prune_until(root: Path, with_remote: bool, point: int) -> None:
    """Prune in a process of its own, which is killed before the `point`-th removal, renaming or call of git."""
    calls = itertools.count(1)

    def killing_at(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for module in MODULES:
        module.ROOT = root  # type: ignore[attr-defined]
    prune.today = lambda: TODAY  # type: ignore[assignment]
    os.chdir(root)
    for owner, name in ((os, "unlink"), (os, "remove"), (os, "rename"), (os, "rmdir"), (subprocess, "run")):
        setattr(owner, name, killing_at(getattr(owner, name)))
    apply(with_remote=with_remote)


@pytest.mark.slow
@pytest.mark.long(full=100, sample=3)
def test_a_killed_prune_loses_nothing_that_a_kept_release_needs(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    root = enter(template, tmp_path / str(seed), monkeypatch)
    with_remote = rng.random() < 0.5
    point = rng.randrange(FIRST_CHANGE, LAST_CHANGE[with_remote])
    assert killing.kill(prune_until, root, with_remote, point)
    git.remove_stale_locks()
    assert set(TAGS[-KEEP:]) <= set(tags(root))
    assert_complete(root, tags(root))  # no tag without its objects
    apply()
    assert tags(root) == TAGS[-KEEP:]
    assert_complete(root, TAGS[-KEEP:])
    shutil.rmtree(root.parent)
