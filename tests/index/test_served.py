"""Which index is served: releases and rollback, names of versions, git revisions, and searches while stages write."""

import datetime
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown
from autolora.errors import MissingArtifact
from autolora.index import served, stage
from autolora.index.served import copy_path, open_index, release, served_digest
from autolora.index.store import SCHEMA, content_digest
from autolora.models import ClipTextEncoder
from autolora.records import Hit
from autolora.releases.exact import self_checks
from autolora.search.retriever import Retriever
from autolora.storage.incremental import read_digest
from autolora.storage.tables import tagged_version
from tests.index.versions import reindex, tags_folder
from tests.support.synthetic_repo import (
    BOUNDS,
    DAY,
    SETTINGS,
    SyntheticAdapter,
    file_states,
    make_adapter,
    no_text_encoder,
    write_dataset,
    write_index,
    write_repository,
)

LATER = DAY + datetime.timedelta(days=3)
NEW_ADAPTERS = [make_adapter("neon", author, LATER) for author in range(3, 8)]


def test_serves_the_released_index_and_rolls_back(root: Path, adapters: list[SyntheticAdapter]) -> None:
    first = content_digest(root)
    assert served_digest(root) is None
    release(str(root), first)
    second = reindex(root, [*adapters, *NEW_ADAPTERS])
    assert (served_digest(root), open_index(root).digest) == (first, first)
    release(root, second)
    assert (served_digest(root), len(open_index(root).rows)) == (second, 17)
    release(root, first)
    assert (served_digest(root), len(open_index(root).rows)) == (first, 12)


def test_opens_the_version_before_an_unfinished_run(root: Path, adapters: list[SyntheticAdapter]) -> None:
    complete = content_digest(root)
    write_repository(root, [*adapters[1:], *NEW_ADAPTERS])
    write_dataset(root)
    sync = stage.open_sync(root, BOUNDS, no_text_encoder)
    plan = sync.plan(batch=2)
    sync.embed(plan.embed[0])
    sync.remove(plan.remove)
    index = open_index(root)  # the run has not written its digest yet
    assert (index.digest, len(index.rows)) == (complete, 12)


@pytest.mark.slow
def test_the_last_two_versions_of_the_working_index_are_found_by_the_digest_that_names_them(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    digests = [content_digest(root)]
    digests += [reindex(root, adapters[:count]) for count in range(11, 5, -1)]
    assert {path.stem for path in tags_folder(root).iterdir()} == set(digests[-2:])
    for count, digest in ((7, digests[-2]), (6, digests[-1])):
        release(root, digest)
        assert len(open_index(root).rows) == count
    with pytest.raises(MissingArtifact, match="differs from the working index"):
        release(root, digests[-3])


def test_a_content_that_returns_has_one_name(root: Path, adapters: list[SyntheticAdapter]) -> None:
    first, second = content_digest(root), reindex(root, adapters[:11])
    assert reindex(root, adapters) == first
    assert {path.stem for path in tags_folder(root).iterdir()} == {first, second}
    for count, digest in ((12, first), (11, second)):
        release(root, digest)
        assert len(open_index(root).rows) == count


def test_index_without_tags_is_found_in_the_newest_version(root: Path) -> None:
    """As a run leaves it that was killed, and was completed by an older version of AutoLoRA."""
    shutil.rmtree(tags_folder(root))
    assert len(open_index(root).rows) == 12
    write_index(root)
    assert [path.stem for path in tags_folder(root).iterdir()] == [content_digest(root)]


@pytest.mark.parametrize("damage", ["{", '{"branch": null, "version": 999, "manifestSize": 1}'])
def test_a_tag_that_is_damaged_or_names_no_version_is_replaced(root: Path, damage: str) -> None:
    (tag,) = tags_folder(root).iterdir()
    tag.write_text(damage)
    obsolete = tag.with_name("0" * 64 + ".json")
    obsolete.write_text(damage)
    assert len(open_index(root).rows) == 12
    write_index(root)
    assert [path.stem for path in tags_folder(root).iterdir()] == [content_digest(root)]
    assert tagged_version(root / "data/index", "adapters", content_digest(root)) is not None


def test_a_released_copy_of_a_former_layout_is_an_error(root: Path) -> None:
    copy_path(root, "0" * 64).mkdir(parents=True)
    served.served_path(root).write_text("0" * 64)
    with pytest.raises(MissingArtifact, match="`autolora versions rollback RELEASE`"):
        open_index(root)


def test_a_working_index_of_a_former_layout_is_an_error(root: Path) -> None:
    digest = root / "digests" / "index.json"
    digest.write_text(json.dumps(read_digest(root, "index") | {"schema": SCHEMA - 1}))
    (root / "cache" / "index").mkdir(parents=True)
    with pytest.raises(MissingArtifact, match=r"another version of AutoLoRA wrote it; run `dvc repro`$"):
        open_index(root)


def test_missing_index_error_names_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="dvc repro"):
        open_index(tmp_path)


@pytest.mark.slow
def test_missing_copy_is_made_from_the_working_index_or_requires_a_revision(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    release(root, content_digest(root))
    shutil.rmtree(root / "cache" / "index")
    assert open_index(root).digest == served_digest(root)
    shutil.rmtree(root / "cache" / "index")
    shutil.rmtree(root / "data" / "index")
    reindex(root, [*adapters, *NEW_ADAPTERS])
    with pytest.raises(MissingArtifact, match="no commit has it"):
        open_index(root)
    with pytest.raises(MissingArtifact, match="differs from the working index"):
        release(root, str(served_digest(root)))


@pytest.mark.slow
def test_searches_succeed_while_the_index_is_rewritten_and_replaced(
    root: Path, adapters: list[SyntheticAdapter], text_encoder: ClipTextEncoder
) -> None:
    """No search fails, and all hits of a search are from one index."""
    first = content_digest(root)
    before = root.parent / "before"
    shutil.copytree(root / "data" / "index", before / "index")
    shutil.copytree(root / "digests", before / "digests")
    sizes = {first: 12}
    with searching(root, text_encoder) as results:
        sizes[reindex(root, [*adapters, *NEW_ADAPTERS])] = 17
        wait_for(results, 2)
        sizes[reindex(root, adapters[1:])] = 11
        wait_for(results, 2)
        shutil.rmtree(root / "data" / "index")  # as `git checkout` and `dvc checkout` do
        shutil.copy(before / "digests" / "index.json", root / "digests" / "index.json")
        shutil.copytree(before / "index", root / "data" / "index")
        wait_for(results, 2)
    failures = [result for result in results if isinstance(result, BaseException)]
    assert not failures, failures[0]
    assert {hit.index for hits in results for hit in hits} == set(sizes)
    for hits in results:
        digests = {hit.index for hit in hits}
        assert len(digests) == 1
        assert len(hits) == sizes[digests.pop()]


@contextmanager
def searching(root: Path, text_encoder: ClipTextEncoder) -> Iterator[list[list[Hit]]]:
    """Search in a loop in another thread; yield the list of results, which also gets the errors."""
    results: list[list[Hit]] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                results.append(
                    Retriever(open_index(root), text_encoder, SETTINGS).search("a neon drawing", k=99)
                )
            except Exception as error:
                results.append(error)  # type: ignore[arg-type]  # the test looks for errors at the end

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield results
    finally:
        stop.set()
        thread.join()


def wait_for(results: list[list[Hit]], count: int) -> None:
    """Wait until there are `count` more results."""
    target = len(results) + count
    while len(results) < target:
        time.sleep(0.01)


def test_a_revision_that_is_unknown_or_without_an_index_is_named(root: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "nothing"], cwd=root, check=True)
    with pytest.raises(MissingArtifact, match="has no revision 'nonsense'"):
        open_index(root, rev="nonsense")
    with pytest.raises(MissingArtifact, match=r"'HEAD' does not contain digests/index\.json"):
        open_index(root, rev="HEAD")


def test_revisions_of_other_layouts_are_not_listed(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    path = tmp_path / "digests" / "index.json"
    path.parent.mkdir()
    for number, layout in enumerate(({"schema": SCHEMA}, {"schema": SCHEMA - 1}, {"schema": SCHEMA}, {}), 1):
        path.write_text(json.dumps({"rows": number, "content": f"{number:064}"} | layout))
        subprocess.run(["git", "add", "digests"], cwd=tmp_path, check=True)
        subprocess.run([*git, "commit", "-q", "-m", f"day {number}"], cwd=tmp_path, check=True)
    listed = [(revision.commit.subject, revision.rows) for revision in served.readable_revisions(tmp_path)]
    assert listed == [("day 3", 3), ("day 1", 1)]
    for revision in ("HEAD", "HEAD~2"):
        with pytest.raises(MissingArtifact, match="has another layout: another version of AutoLoRA wrote it"):
            open_index(tmp_path, rev=revision)


@pytest.mark.slow
def test_opens_the_index_of_a_revision(
    root: Path, adapters: list[SyntheticAdapter], text_encoder: ClipTextEncoder
) -> None:
    """DVC provides the index of a tag; the working tree does not change."""
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    dvc = [sys.executable, "-m", "dvc"]
    (root / ".gitignore").write_text("cache/\n")

    def commit(tag: str) -> None:
        subprocess.run([*dvc, "add", "-q", "data/index"], cwd=root, check=True)
        subprocess.run(
            [*git, "add", "data/index.dvc", "data/.gitignore", "digests", ".dvc", ".gitignore"],
            cwd=root,
            check=True,
        )
        subprocess.run([*git, "commit", "-q", "-m", tag], cwd=root, check=True)
        subprocess.run([*git, "tag", tag], cwd=root, check=True)

    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run([*dvc, "init", "-q"], cwd=root, check=True)
    commit("day-1")
    first = content_digest(root)
    expected = Retriever(open_index(root), text_encoder, SETTINGS).search("a neon drawing", k=3)
    reindex(root, [*adapters, *NEW_ADAPTERS])
    commit("day-2")
    shutil.rmtree(root / "cache")
    before = file_states(root / "data")
    index = open_index(root, rev="day-1")
    assert index.digest == first
    assert Retriever(index, text_encoder, SETTINGS).search("a neon drawing", k=3) == expected
    assert file_states(root / "data") == before
    assert open_index(root).digest == content_digest(root) != first
    shutil.rmtree(root / ".dvc" / "cache")
    shutil.rmtree(root / "cache")
    with pytest.raises(MissingArtifact, match="DVC cannot fetch"):
        open_index(root, rev="day-1")


def test_what_was_taken_down_leaves_every_index_that_is_opened(
    root: Path, adapters: list[SyntheticAdapter]
) -> None:
    first = content_digest(root)
    release(root, first)
    before = open_index(root)
    assert isinstance(before.weights_vectors.base, np.memmap), "nothing is read or copied"
    gone, other = before.rows[3]["sha256"], "0" * 64
    take_down(root, other)
    assert isinstance(open_index(root).weights_vectors.base, np.memmap)
    take_down(root, gone)
    after = open_index(root)
    kept = [row for row in range(12) if row != 3]
    assert [row["sha256"] for row in after.rows] == [before.rows[row]["sha256"] for row in kept]
    assert np.array_equal(after.weights_vectors, before.weights_vectors[kept])
    assert (after.digest, served.num_left_out(root, after)) == (first, 1)
    assert len(served.open_copy_of(root, first).rows) == 12, "the gate sees all rows"
    assert {check.passed for check in self_checks(root, after)} == {True}


def take_down(root: Path, sha256: str) -> None:
    row = Takedown(kind="weights", sha256=sha256, hub="", id="", file="", reason="asked", date=DAY)
    takedowns.write(root, takedowns.read(root).with_rows([row]))
