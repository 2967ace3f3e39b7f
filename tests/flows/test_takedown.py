"""Takedowns with real git and DVC repositories and local remotes."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.catalog import diff, takedowns
from autolora.catalog import store as catalog
from autolora.concepts.decoded import DecodedImage, decoded_path
from autolora.concepts.store import CaptionedImage, images_path, phrases_path
from autolora.crawl import day_start
from autolora.errors import AutoLoraError
from autolora.report.refresh_summary import refresh_summary
from autolora.storage.files import write_rows
from flows import dvc_objects, takedown
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import BATCH, CAT, DOG, IMAGES, INK, OTHER, OWN, SHARED

FULL = len(repo.content(INK))
ERASED = {INK: 0, OWN: 0, **dict.fromkeys((CAT, DOG, OTHER, SHARED), FULL)}
CHANGED = ("data/takedowns.jsonl", "data/catalog.jsonl", f"data/pool/batches/{BATCH}.dvc", "dvc.lock")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository `repo` and its remote `store`, to be copied."""
    folder = tmp_path_factory.mktemp("template")
    repo.make_repository(folder / "repo", "../store")
    return folder


@pytest.fixture
def copied(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """A function that copies the template, hard links included, and makes the copy the current repository."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767571200")

    def copy(name: str) -> Path:
        subprocess.run(["cp", "-a", str(template), str(tmp_path / name)], check=True)
        return enter(tmp_path / name / "repo", monkeypatch)

    yield copy


@pytest.fixture
def root(copied: Callable[[str], Path]) -> Path:
    return copied("copy")


def enter(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (takedown, dvc_objects):
        monkeypatch.setattr(module, "ROOT", root)
    return root


def take_down(*names: str) -> None:
    takedown.take_down(names, "asked", is_applied=True)


def empty_objects(folder: Path) -> set[str]:
    """Return the names of the empty objects of a cache or remote, that of an empty file left out."""
    paths = {path for path in folder.rglob("*") if path.is_file() and not path.stat().st_size}
    return {path.parent.name + path.name for path in paths} - {dvc_objects.EMPTY_MD5}


def objects(root: Path) -> dict[str, set[str]]:
    """Return the md5 of the erased objects in the cache and in the remote."""
    return {
        "cache": empty_objects(root / ".dvc/cache/files"),
        "store": empty_objects(root.parent / "store/files"),
    }


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


@pytest.mark.slow
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


def test_without_apply_nothing_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    takedown.take_down(["civitai:7"], "asked", is_applied=False)
    printed = capsys.readouterr().out
    for place in ("data/pool", "DVC's cache", "remote store"):
        assert f"would be erased in {place}: 2 files, 0.013 MB" in printed
    assert f"kept: rendering {SHARED}" in printed and f"kept: weights {CAT}" in printed
    assert repo.run(root, "git", "status", "--porcelain") == ""
    assert set(repo.contents(root).values()) == {FULL}


def test_the_command_reports_and_is_repeated_without_effect(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = repo.take_down(root, "civitai:7", "--reason", "asked", "--apply")
    assert done.returncode == 0 and "erased in remote store: 2 files" in done.stdout, done.stderr
    for command in (f"git add {takedown.COMMITTED}", "git commit -m", "python -m flows.refresh"):
        assert f"    {command}" in done.stdout
    before, after_takedown = diff.keep_baseline(root), diff.snapshot(root)
    assert "- taken down: `civitai:7/" in refresh_summary(diff.compare(before, after_takedown), [])
    after = [(root / name).read_bytes() for name in CHANGED]
    for names in (["civitai:7"], [], [INK]):
        take_down(*names)
        assert "nothing to erase" in capsys.readouterr().out
    assert [(root / name).read_bytes() for name in CHANGED] == after


def test_a_name_needs_a_reason(root: Path) -> None:
    done = repo.take_down(root, "civitai:7", "--apply")
    assert done.returncode == 2 and "--reason is required" in done.stderr
    assert repo.run(root, "git", "status", "--porcelain") == ""


class Killed(BaseException):
    """The process ends here."""


def kill_at(patch: pytest.MonkeyPatch, point: int) -> list[str]:
    """Make the `point`-th write of a file end the process before or after it; return the calls so far."""
    calls: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) == point // 2 + 1:
                if point % 2:
                    original(*args, **options)
                raise Killed
            return original(*args, **options)

        return call

    for name in ("replace", "truncate"):
        patch.setattr(os, name, counting(name))
    return calls


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_write_is_completed_by_the_next(copied: Callable[[str], Path]) -> None:
    reference = copied("reference")
    with pytest.MonkeyPatch.context() as patch:
        calls = kill_at(patch, 10**6)
        take_down("civitai:7")
    assert calls.count("truncate") == 4 and len(calls) > 10
    for point in range(2 * len(calls)):
        root = copied(str(point))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            kill_at(patch, point)
            take_down("civitai:7")
        take_down(*([] if (root / CHANGED[0]).exists() else ["civitai:7"]))
        assert repo.contents(root) == ERASED, point
        assert objects(root) == objects(reference), point
        assert all((root / name).read_bytes() == (reference / name).read_bytes() for name in CHANGED), point
        shutil.rmtree(root.parent)


def test_other_damage_in_the_batch_is_not_recorded(root: Path) -> None:
    path = root / f"data/pool/batches/{BATCH}/weights/{DOG}.safetensors"
    path.unlink()
    path.write_bytes(b"damaged")
    take_down("civitai:7")
    status = repo.run(root, "dvc", "data", "status", "--granular").partition("uncommitted changes")[2]
    assert f"modified: data/pool/batches/{BATCH}/weights/{DOG}.safetensors" in status and INK not in status


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


def test_a_file_outside_of_batches_is_removed(root: Path) -> None:
    sketch = root / f"data/pool/open/sketches/{INK}.safetensors"
    former = root / f"data/pool/weights/{INK[:2]}/{INK}.safetensors"
    thumbnail = root / f"cache/thumbnails/v/{OWN[:2]}/{OWN}.pixels.webp"
    beside_page = root / f"reports/images/v/{OWN[:2]}/{OWN}.webp"
    served = root / f"cache/web_images/320/{OWN[:2]}/{OWN}.webp"
    for path in (sketch, former, thumbnail, beside_page, served, thumbnail.with_name(f"{IMAGES[2]}.webp")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")
    take_down("civitai:7")
    assert not any(path.exists() for path in (sketch, former, thumbnail, beside_page, served))
    assert thumbnail.with_name(f"{IMAGES[2]}.webp").exists()


def write_concepts(root: Path, images: dict[str, str]) -> None:
    """Write data/concepts with captioned images, and the hash of the pixels of one: image -> caption."""
    rows = [
        CaptionedImage(sha256=image, caption=caption, source="s", families=(), gradient="g")
        for image, caption in images.items()
    ]
    write_rows(images_path(root), map(asdict, rows))
    write_rows(phrases_path(root), [{"phrase": "ink", "images": [0]}])


@pytest.mark.parametrize("shown", [OWN, "a copy with the same pixels"])
def test_captions_of_concepts_are_removed(root: Path, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_concepts(root, {shown: "a secret", OTHER: "a dog"})
    decoded = [DecodedImage(image=image, bounds="b", pixels="p") for image in {OWN, shown}]
    write_rows(decoded_path(root), map(asdict, [*decoded, DecodedImage(image=OTHER, bounds="b", pixels="q")]))
    takedown.take_down(["civitai:7"], "asked", is_applied=False)
    assert "would be erased in data/concepts: 1 file" in capsys.readouterr().out
    assert images_path(root).exists()
    take_down("civitai:7")
    assert not images_path(root).exists() and not phrases_path(root).exists()
    assert decoded_path(root).exists()
    take_down("civitai:7")
    assert "nothing to erase" in capsys.readouterr().out


def test_concepts_without_the_image_stay(root: Path) -> None:
    write_concepts(root, {OTHER: "a dog", SHARED: "kept, as another file shows it"})
    before = images_path(root).read_bytes()
    take_down("civitai:7")
    assert images_path(root).read_bytes() == before


def test_an_image_alone_leaves_its_files_active(root: Path) -> None:
    take_down(SHARED)
    listings = catalog.read_active(root)
    assert len(listings) == 4 and SHARED not in str([item.renderings for item in listings])
    assert repo.contents(root)[SHARED] == 0 and repo.contents(root)[INK] == FULL


def test_the_daily_budget_continues(root: Path) -> None:
    before = catalog.read_all(root)
    day_start.write(root, before[2:], [before], repo.DAY)
    take_down("civitai:7")
    assert day_start.read(root, catalog.read_all(root), repo.DAY) == before[2:]


def test_a_batch_without_a_dvc_file_is_emptied_in_the_tree_and_in_its_former_versions(root: Path) -> None:
    (root / CHANGED[2]).unlink()
    repo.commit(root, "no .dvc file")
    take_down("civitai:7")
    assert repo.contents(root) == ERASED and len(objects(root)["store"]) == 2
    assert not (root / CHANGED[2]).exists()


def test_versions_of_merges_discarded_branches_and_the_reflog_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_objects, "ROOT", tmp_path)
    path = tmp_path / "data" / "batch.dvc"
    path.parent.mkdir()

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def commit(version: int) -> None:
        path.write_text(f"outs:\n- md5: v{version}.dir\n")
        git("add", ".")
        git("commit", "-m", str(version))

    git("init", "-b", "main")
    commit(1)
    git("checkout", "-b", "side")
    commit(2)
    git("checkout", "main")
    commit(3)
    git("merge", "-s", "ours", "--no-commit", "side")
    commit(4)
    git("checkout", "-b", "discarded")
    commit(5)
    git("checkout", "main")
    git("merge", "-s", "ours", "--no-ff", "discarded")
    git("branch", "-D", "side", "discarded")
    commit(6)
    git("reset", "--hard", "HEAD~")
    path.write_text("outs:\n- md5: v7.dir\n")
    versions = dvc_objects.FolderVersions(tmp_path / "data" / "batch", [])
    assert versions._oids() == {f"v{number}.dir" for number in range(1, 8)}
