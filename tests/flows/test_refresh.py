"""The refresh: downloads that fail."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import pytest

from autolora.catalog import failed_items
from autolora.catalog.failed_items import FailedItem
from autolora.errors import AutoLoraError
from flows import refresh

DAY = datetime.date(2026, 1, 5)


class FakeStages:
    """A crawl that is counted, and stages that fail while downloads fail."""

    def __init__(self, root: Path, failures: Sequence[Sequence[str]]) -> None:
        self.root, self.failures, self.crawls = root, list(failures), 0

    def crawl(self, lock: int) -> None:
        self.crawls += 1

    def reproduce(self, lock: int) -> None:
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
