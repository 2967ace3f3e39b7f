"""The refresh: downloads that fail, and what its report states about captions."""

import datetime
import errno
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from autolora.catalog import failed_items
from autolora.catalog.diff import BASELINE, Snapshot
from autolora.catalog.failed_items import FailedItem
from autolora.clock import now
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.index.served import former_digest, served_path
from autolora.index.store import SCHEMA
from autolora.refresh.last_refresh import read_last_refresh, record_release
from autolora.refresh.record import read_refresh
from autolora.storage.incremental import write_digest
from flows import refresh
from flows.stage import StageFailed

DAY = datetime.date(2026, 1, 5)
PUBLISH = refresh.publish


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


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the root of a refresh whose steps do nothing but release the index `d`."""
    empty = Snapshot((), {})
    write_digest(tmp_path, "index", {}, SCHEMA, content="d" * 64)
    for module in (refresh, refresh.promotion):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("crawl", "reproduce_and_defer", "reproduce"):
        monkeypatch.setattr(refresh, name, lambda lock: None)
    for name in ("add_batches", "push"):
        monkeypatch.setattr(refresh.dvc, name, lambda lock: None)
    monkeypatch.setattr(refresh, "untrack_outputs", lambda: None)
    monkeypatch.setattr(refresh.dvc, "repair_files", lambda: None)
    monkeypatch.setattr(refresh.git, "remove_stale_locks", lambda: None)
    monkeypatch.setattr(refresh, "check_code", lambda name: None)
    monkeypatch.setattr(refresh, "look_for_troubles", lambda: None)
    monkeypatch.setattr(refresh, "run_in_time", refresh.run_steps.fn)
    monkeypatch.setattr(refresh, "keep_baseline", lambda root: empty)
    monkeypatch.setattr(refresh.page, "assemble", lambda root: None)
    monkeypatch.setattr(refresh, "name_changed_inputs", lambda: None)
    monkeypatch.setattr(refresh, "caption_summary", lambda root: "")
    monkeypatch.setattr(refresh, "snapshot", lambda root: empty)
    monkeypatch.setattr(refresh, "publish", publish_nothing)
    monkeypatch.setattr(refresh.promotion, "decide", lambda results: serve(tmp_path))
    monkeypatch.setattr(
        refresh.promotion, "params", lambda: SimpleNamespace(refresh=SimpleNamespace(commit=False))
    )
    (tmp_path / BASELINE).parent.mkdir()
    (tmp_path / BASELINE).touch()
    return tmp_path


def publish_nothing(markdown: str, printed: str | None = None) -> None:
    """Store no artifact."""


def serve(root: Path) -> None:
    """Serve the index `d`, as a refresh does whose index the gate promotes."""
    served_path(root).write_text("d" * 64)
    record_release(root, now())


def raise_at(step: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a step of the refresh fail."""

    def fail(lock: int) -> None:
        raise error

    monkeypatch.setattr(f"flows.refresh.{step}", fail)


def test_report_ends_with_the_captions_that_disagreed_before_the_release(
    steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []

    def publish(markdown: str, printed: str | None = None) -> None:
        published.append(markdown)

    monkeypatch.setattr(refresh, "publish", publish)
    monkeypatch.setattr(refresh, "caption_summary", lambda root: f"**Captions**, {former_digest(root)}")
    refresh.refresh.fn()
    (text,) = published
    assert re.fullmatch(
        "Nothing changed: the catalog and all digests are the same as before\\.\n\n"
        r"\*\*Captions\*\*, None\n\nGate: nothing to promote, the index is as it was\.\n\n"
        rf"Served index: `{'d' * 64}`, after \d+ s",
        text,
    )
    assert read_refresh(steps) is None, "the record is that of the last refresh with changes"
    last = read_last_refresh(steps)
    assert last.succeeded and last.problem is None and last.index == "d" * 64


@pytest.mark.parametrize(
    ("step", "error", "reason", "is_released"),
    [
        (
            "crawl",
            StageFailed("crawl: HubError: no answer", "log"),
            "failed: crawl: HubError: no answer.",
            False,
        ),
        ("dvc.push", AutoLoraError("`dvc push` failed"), "failed: AutoLoraError: `dvc push` failed.", True),
        ("dvc.add_batches", ZeroDivisionError("by zero"), "failed: ZeroDivisionError: by zero.", False),
        ("crawl", KeyboardInterrupt(), "did not finish", False),
    ],
)
def test_a_refresh_that_fails_is_recorded_and_reported(
    steps: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: BaseException,
    reason: str,
    is_released: bool,
) -> None:
    seen: list[str | None] = []
    published: list[str] = []

    def publish(markdown: str, printed: str | None = None) -> None:
        published.append(markdown)

    monkeypatch.setattr(refresh, "publish", publish)
    monkeypatch.setattr(refresh.page, "assemble", lambda root: seen.append(read_last_refresh(root).problem))
    raise_at(step, error, monkeypatch)
    with nullcontext() if isinstance(error, AutoLoraError) else pytest.raises(type(error)):
        refresh.refresh.fn()
    last = read_last_refresh(steps)
    assert last.problem and reason in last.problem and last.failures == 1
    assert (last.index == "d" * 64) == is_released
    after_release, after_failure = [None] * is_released, [last.problem]
    assert seen == after_release + ([] if isinstance(error, KeyboardInterrupt) else after_failure)
    if isinstance(error, AutoLoraError):
        served = "its new index is served." if is_released else "No index has been released yet."
        assert f"The refresh failed. {served}" in published[-1].replace("It failed after the release: ", "")
        assert f"**{error}**" in published[-1] and "autolora refresh" in published[-1]


def test_a_report_that_cannot_be_written_hides_no_failure(
    steps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:

    def fail(root: Path) -> None:
        raise MissingArtifact("no catalog")

    monkeypatch.setattr(refresh.page, "assemble", fail)
    raise_at("crawl", ZeroDivisionError("by zero"), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        refresh.refresh.fn()
    assert "reports/index.html stays as it was: MissingArtifact" in capsys.readouterr().out
    assert "by zero" in str(read_last_refresh(steps).problem)


def test_a_full_disk_hides_no_failure(steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the record nor the report can be written then; the reason is published."""
    published: list[str] = []

    def publish(markdown: str, printed: str | None = None) -> None:
        published.append(markdown)

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(refresh, "publish", publish)
    monkeypatch.setattr(refresh, "record_failure", fail)
    raise_at("crawl", StageFailed("pool: DiskFull: no space", "log"), monkeypatch)
    refresh.refresh.fn()
    assert "**pool: DiskFull: no space**" in published[-1]


def test_the_terminal_gets_what_to_do_and_the_artifact_the_reason(
    steps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason follows from `run`, once."""
    artifacts: list[str] = []
    monkeypatch.setattr(refresh, "publish", PUBLISH)
    monkeypatch.setattr(
        refresh, "create_markdown_artifact", lambda markdown, **options: artifacts.append(markdown)
    )
    raise_at("crawl", StageFailed("pool: DiskFull: no space", "a line of the log"), monkeypatch)
    refresh.refresh.fn()
    printed = capsys.readouterr().out
    assert printed.startswith(
        "The refresh failed. No index has been released yet. Correct the cause, then run"
    )
    assert "no space" not in printed and "a line of the log" not in printed and "**" not in printed
    assert artifacts[0].startswith("**pool: DiskFull: no space**") and "a line of the log" in artifacts[0]
