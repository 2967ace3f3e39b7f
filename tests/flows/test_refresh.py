"""The refresh: downloads that fail, and what its report states about captions."""

import asyncio
import datetime
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from autolora.catalog import failed_items
from autolora.catalog.diff import BASELINE, Snapshot
from autolora.catalog.failed_items import FailedItem
from autolora.errors import AutoLoraError
from autolora.report.history import read_refresh
from autolora.storage.incremental import write_digest
from flows import refresh

DAY = datetime.date(2026, 1, 5)


class FakeStages:
    """A crawl that is counted, and stages that fail while downloads fail."""

    def __init__(self, root: Path, failures: Sequence[Sequence[str]]) -> None:
        self.root, self.failures, self.crawls = root, list(failures), 0

    def crawl(self, lock: int) -> None:
        self.crawls += 1

    def reproduce(self, lock: int, *targets: str) -> None:
        keys = self.failures.pop(0)
        downloads = [
            FailedItem(stage="pool", key=key, hub="civitai", id="7", name=key, reason="", last_attempt=DAY)
            for key in keys
        ]
        failed_items.record(self.root, "pool", downloads, set(keys), DAY)
        if keys:
            raise AutoLoraError("missing from the pool")


def count_crawls(stages: FakeStages, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the stages as a refresh does and return the number of extra crawls."""
    monkeypatch.setattr(refresh, "ROOT", stages.root)
    monkeypatch.setattr(refresh, "crawl", stages.crawl)
    monkeypatch.setattr(refresh, "reproduce", stages.reproduce)
    refresh.reproduce_and_defer(0)
    return stages.crawls


@pytest.mark.parametrize("failures", [[[]], [["a"], []], [["a"], ["b"], ["c"], []]])
def test_refresh_continues_without_downloads_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[list[str]]
) -> None:
    assert count_crawls(FakeStages(tmp_path, failures), monkeypatch) == len(failures) - 1


@pytest.mark.parametrize("failures", [[["a"], ["a"]], [["a"], ["b"], ["c"], ["d"]]])
def test_refresh_fails_if_the_same_download_fails_again_or_too_many_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[list[str]]
) -> None:
    with pytest.raises(AutoLoraError, match="missing from the pool"):
        count_crawls(FakeStages(tmp_path, failures), monkeypatch)


def test_report_ends_with_the_captions_that_disagreed_before_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[str] = []
    published: list[str] = []

    async def publish(markdown: str) -> None:
        published.append(markdown)

    def promote() -> str:
        released.append("d" * 64)
        return released[0]

    empty = Snapshot((), {})
    write_digest(tmp_path, "index", {}, 4, content="d" * 64)
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    for name in ("crawl", "reproduce_and_defer", "add_batches", "reproduce", "push"):
        monkeypatch.setattr(refresh, name, lambda lock: None)
    monkeypatch.setattr(refresh, "untrack_outputs", lambda: None)
    monkeypatch.setattr(refresh.dvc, "repair_files", lambda: None)
    monkeypatch.setattr(refresh.git, "remove_stale_locks", lambda: None)
    monkeypatch.setattr(refresh, "guarded", nullcontext)
    monkeypatch.setattr(refresh, "read_baseline", lambda: empty)
    monkeypatch.setattr(refresh, "write_report", lambda: None)
    monkeypatch.setattr(refresh, "promote", promote)
    monkeypatch.setattr(refresh, "publish", publish)
    monkeypatch.setattr(refresh, "caption_summary", lambda root: f"**Captions**, releases: {released}")
    (tmp_path / BASELINE).parent.mkdir()
    (tmp_path / BASELINE).touch()
    monkeypatch.setattr(refresh, "snapshot", lambda root: empty)
    asyncio.run(refresh.refresh.fn())
    (text,) = published
    assert re.fullmatch(
        "Nothing changed: the catalog and all digests are the same as before\\.\n\n"
        rf"\*\*Captions\*\*, releases: \[\]\n\nServed index: `{'d' * 64}`, after \d+ s",
        text,
    )
    assert read_refresh(tmp_path) is None, "the record is that of the last refresh with changes"
