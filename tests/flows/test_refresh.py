"""A night: what it commits, and what it goes on without."""

import datetime
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from autolora.catalog import failed_downloads
from autolora.catalog.failed_downloads import Setback
from autolora.errors import AutoLoraError
from flows import refresh

DAY = datetime.date(2026, 1, 5)


def test_a_night_commits_its_locks_and_nothing_that_is_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "t")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "t@t")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "t")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "t@t")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/catalog.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    refresh.commit.fn("1 added")
    refresh.commit.fn("nothing new")
    logged = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=tmp_path, text=True, capture_output=True
    )
    assert logged.stdout.split() == ["1", "added", "data/catalog.jsonl"]


class Night:
    """A crawl and what follows it, which fails while the hubs give too little."""

    def __init__(self, root: Path, setbacks_a_try: Sequence[Sequence[str]]) -> None:
        self.root, self.tries, self.crawls = root, list(setbacks_a_try), 0

    def crawl(self, lock: int) -> None:
        self.crawls += 1

    def reproduce(self, lock: int) -> None:
        missing = self.tries.pop(0)
        found = [Setback(key=key, hub="civitai", id="7", name=key, why="", last=DAY) for key in missing]
        failed_downloads.note(self.root, found, set(missing), DAY)
        if missing:
            raise AutoLoraError("not in the pool")


def lived(night: Night, monkeypatch: pytest.MonkeyPatch) -> int:
    """Live through a night and return how often the hubs were looked at again."""
    monkeypatch.setattr(refresh, "ROOT", night.root)
    monkeypatch.setattr(refresh, "crawl", night.crawl)
    monkeypatch.setattr(refresh, "reproduce", night.reproduce)
    refresh.reproduce_without_setbacks(0)
    return night.crawls


@pytest.mark.parametrize("tries", [[[]], [["a"], []], [["a"], ["b"], []]])
def test_a_night_goes_on_without_what_could_not_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: list[list[str]]
) -> None:
    assert lived(Night(tmp_path, tries), monkeypatch) == len(tries) - 1


@pytest.mark.parametrize("tries", [[["a"], ["a"]], [["a"], ["b"], ["c"]]])
def test_a_night_that_is_set_back_by_the_same_again_or_on_and_on_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: list[list[str]]
) -> None:
    with pytest.raises(AutoLoraError, match="not in the pool"):
        lived(Night(tmp_path, tries), monkeypatch)
