"""The refresh: its commit, downloads that fail, and the reason it gives for a failure."""

import datetime
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from autolora.catalog import failed_downloads
from autolora.catalog.failed_downloads import FailedDownload
from autolora.errors import AutoLoraError
from flows import refresh, stage
from flows.stage import StageFailed

DAY = datetime.date(2026, 1, 5)


def test_commit_holds_the_refresh_and_nothing_else_that_is_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/catalog.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    refresh.commit.fn("1 added")
    refresh.commit.fn("nothing new")
    log = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=tmp_path, text=True, capture_output=True
    )
    assert log.stdout.split() == ["1", "added", "data/catalog.jsonl"]


class FakeStages:
    """A crawl that is counted, and stages that fail while downloads fail."""

    def __init__(self, root: Path, failures: Sequence[Sequence[str]]) -> None:
        self.root, self.failures, self.crawls = root, list(failures), 0

    def crawl(self, lock: int) -> None:
        self.crawls += 1

    def reproduce(self, lock: int) -> None:
        keys = self.failures.pop(0)
        downloads = [
            FailedDownload(key=key, hub="civitai", id="7", name=key, reason="", last_attempt=DAY)
            for key in keys
        ]
        failed_downloads.record(self.root, downloads, set(keys), DAY)
        if keys:
            raise AutoLoraError("missing from the pool")


def count_crawls(stages: FakeStages, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the stages as a refresh does and return the number of extra crawls."""
    monkeypatch.setattr(refresh, "ROOT", stages.root)
    monkeypatch.setattr(refresh, "crawl", stages.crawl)
    monkeypatch.setattr(refresh, "reproduce", stages.reproduce)
    refresh.reproduce_and_defer(0)
    return stages.crawls


@pytest.mark.parametrize("failures", [[[]], [["a"], []], [["a"], ["b"], []]])
def test_refresh_continues_without_downloads_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[list[str]]
) -> None:
    assert count_crawls(FakeStages(tmp_path, failures), monkeypatch) == len(failures) - 1


@pytest.mark.parametrize("failures", [[["a"], ["a"]], [["a"], ["b"], ["c"]]])
def test_refresh_fails_if_the_same_download_fails_again_or_too_many_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: list[list[str]]
) -> None:
    with pytest.raises(AutoLoraError, match="missing from the pool"):
        count_crawls(FakeStages(tmp_path, failures), monkeypatch)


def test_failure_begins_with_the_reason_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    monkeypatch.setattr(stage, "link_to_refresh", lambda tag: {})
    (tmp_path / "cache").mkdir()
    (tmp_path / refresh.FAILURE).write_text(json.dumps({"flow": "index", "reason": "of an earlier run"}))
    with pytest.raises(StageFailed, match=r"^`dvc repro` failed outside of a stage"):
        refresh._dvc(0, "repro")
    script = "flow, reason = 'pool', 'HubError: hub civitai answered 503'"
    monkeypatch.setattr(refresh.sys, "executable", fake_dvc(tmp_path, script))
    with pytest.raises(StageFailed, match=r"^pool: HubError: hub civitai answered 503$") as caught:
        refresh._dvc(0, "repro")
    assert caught.value.output == "a last line\n"


def fake_dvc(folder: Path, script: str) -> str:
    """Return an executable that fails as a stage under DVC does: it writes its reason and prints a line."""
    path = folder / "python"
    path.write_text(
        f"#!/usr/bin/env python3\nimport json, os, sys\n{script}\n"
        f"open(os.environ['{stage.FAILURE_VARIABLE}'], 'w').write(json.dumps(dict(flow=flow, reason=reason)))\n"
        "print('To track the changes with git, run:')\nprint()\nprint('a last line')\nsys.exit(1)\n"
    )
    path.chmod(0o755)
    return str(path)
