"""The record of how the last refresh ended, and what people see of it."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from autolora.refresh.last_refresh import (
    RECORD,
    failure_notice,
    index_day,
    read_last_refresh,
    record_failure,
    record_release,
    record_start,
    record_success,
)
from autolora.report.page import assemble
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_lock
from tests.support.report_root import write_pool

NIGHT = datetime(2026, 11, 27, 2, 0, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64


def serve(root: Path, digest: str) -> None:
    write_atomic(root / "cache/served", f"{digest}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository after a successful refresh on NIGHT."""
    record_start(tmp_path, NIGHT)
    serve(tmp_path, OLD)
    record_release(tmp_path, NIGHT)
    record_success(tmp_path, NIGHT)
    return tmp_path


def fail(root: Path, days: int, reason: str, released: str | None = None) -> None:
    """Record a refresh that fails, some days after NIGHT."""
    record_start(root, NIGHT + timedelta(days=days))
    if released:
        serve(root, released)
        record_release(root, NIGHT + timedelta(days=days))
    record_failure(root, NIGHT + timedelta(days=days), reason)


def test_no_refresh_and_a_successful_one_are_no_problem(tmp_path: Path, root: Path) -> None:
    assert read_last_refresh(tmp_path / "other").problem is None
    assert read_last_refresh(root).problem is None
    assert failure_notice(root, read_last_refresh(root)) == []


def test_a_failure_names_the_reason_and_the_served_index_until_the_next_success(root: Path) -> None:
    fail(root, 1, "pool: HubError: hub civitai is down.")
    fail(root, 2, "crawl: HubError: hub civitai is down")
    last = read_last_refresh(root)
    problem, served, remedy = failure_notice(root, last)
    assert problem == "The refresh of 2026-11-29, 02:00 UTC failed: crawl: HubError: hub civitai is down."
    assert served == "The index of 2026-11-27 is served." and "autolora refresh" in remedy
    assert last.failures == 2
    record_start(root, NIGHT + timedelta(days=3))
    assert read_last_refresh(root).failures == 3, "of a refresh that nobody runs"
    record_success(root, NIGHT + timedelta(days=3))
    assert read_last_refresh(root).problem is None


def test_a_failure_after_the_release_says_so(root: Path) -> None:
    fail(root, 2, "AutoLoraError: `dvc push` failed", released=NEW)
    last = read_last_refresh(root)
    assert "its new index is served" in failure_notice(root, last)[1]
    assert index_day(root, last, NEW) == "2026-11-29"
    fail(root, 3, "AutoLoraError: the disk is full")
    assert failure_notice(root, read_last_refresh(root))[1] == "The index of 2026-11-29 is served."


def test_a_start_without_an_end_runs_while_the_lock_is_held_and_was_killed_otherwise(root: Path) -> None:
    with exclusive_lock(root):
        record_start(root, NIGHT + timedelta(days=1))
        running = read_last_refresh(root)
    assert running.started and running.problem is None
    killed = read_last_refresh(root)
    assert killed.started is None and killed.failures == 1
    assert "A refresh started on 2026-11-28, 02:00 UTC and did not finish" in failure_notice(root, killed)[0]
    with exclusive_lock(root):
        record_start(root, NIGHT + timedelta(days=2))
        running = read_last_refresh(root)
    assert running.started and running.problem and running.failures == 1, "the next refresh knows of it"


def test_a_first_refresh_that_fails_leaves_no_index(tmp_path: Path) -> None:
    fail(tmp_path, 1, "crawl: HubError: no answer")
    assert failure_notice(tmp_path, read_last_refresh(tmp_path))[1] == "No index has been released yet."


def test_an_index_that_was_released_by_hand_is_not_that_of_a_refresh(root: Path) -> None:
    serve(root, NEW)
    assert index_day(root, read_last_refresh(root), NEW) is None
    fail(root, 1, "crawl: HubError: no answer")
    assert failure_notice(root, read_last_refresh(root))[1] == "The index of an earlier day is served."


def test_an_index_to_which_one_went_back_after_the_failure_is_not_its_new_one(root: Path) -> None:
    fail(root, 1, "AutoLoraError: `dvc push` failed", released=NEW)
    serve(root, OLD)
    assert failure_notice(root, read_last_refresh(root))[1] == "The index of an earlier day is served."


def test_a_refresh_that_releases_the_same_index_again_has_released_none(root: Path) -> None:
    fail(root, 1, "AutoLoraError: `dvc push` failed", released=OLD)
    assert failure_notice(root, read_last_refresh(root))[1] == "The index of 2026-11-27 is served."


def test_a_damaged_record_is_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for content in ("{", '{"night": 1}'):
        (root / RECORD).write_text(content)
        assert read_last_refresh(root).problem is None
        assert f"{RECORD} is damaged" in caplog.text
        caplog.clear()


def test_the_report_begins_with_a_failure(root: Path) -> None:
    write_pool(root)
    fail(root, 2, "crawl: <b>HubError</b>: run `make deps`")
    page = assemble(root).read_text()
    banner = page[page.index('class="problem"') : page.index('id="refresh"')]
    assert "&lt;b&gt;HubError&lt;/b&gt;" in banner and "<code>make deps</code>" in banner
    assert "The index of 2026-11-27 is served." in banner
    with exclusive_lock(root):
        record_start(root, NIGHT + timedelta(days=3))
        assert banner in assemble(root).read_text(), "until a refresh succeeds"
        record_success(root, NIGHT + timedelta(days=3))
    assert 'class="problem"' not in assemble(root).read_text()


def test_the_record_is_read_without_the_large_libraries() -> None:
    code = "import sys, autolora.refresh.last_refresh; sys.exit(bool({'torch', 'lancedb', 'PIL'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
