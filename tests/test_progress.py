"""Progress of long work as log lines."""

import io
import logging
import time

import pytest

from autolora import progress as module
from autolora.progress import Progress, describe, duration, show_progress, track
from tests.support.waiting import wait_for_line


@pytest.mark.parametrize(
    ("done", "total", "seconds", "text"),
    [
        (120, 1200, 12.0, "120 of 1,200 images, 10.0/s, 1 min 48 s left"),
        (1200, 1200, 100.0, "1,200 of 1,200 images, finishing, 1 min 40 s so far"),
        (7, None, 14.0, "7 images, 0.5/s"),
        (2, 10, 60.0, "2 of 10 images, 30 s each, 4 min 0 s left"),
        (0, 10, 65.0, "0 of 10 images, 1 min 5 s so far"),
    ],
)
def test_a_line_has_count_rate_and_remaining_time(
    done: int, total: int | None, seconds: float, text: str
) -> None:
    assert describe(done, total, "images", seconds) == text


def test_the_rate_of_a_continued_training_is_that_of_its_own_steps() -> None:
    progress = Progress("fusion", 1000, "steps")
    for number in (501, 502, 503):
        progress.reach(number)
    assert (progress.done, progress._before) == (503, 500)
    assert describe(503, 1000, "steps", 6.0, before=500) == "503 of 1,000 steps, 0.5/s, 16 min 34 s left"


def test_durations_have_two_units() -> None:
    assert [duration(seconds) for seconds in (0.4, 59, 61, 3600, 90_061)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 0 min", "25 h 1 min",
    ]  # fmt: skip


def test_lines_are_logged_while_the_work_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    monkeypatch.setattr(module, "INTERVAL_S", 0.02)
    with Progress("pool", 4, "files", detail=lambda: "3 MB", count=lambda: 1) as progress:
        progress.advance(2)
        wait_for_line(caplog)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[-1].startswith("[pool] 3 of 4 files, ") and messages[-1].endswith(", 3 MB")
    time.sleep(0.1)
    assert len(caplog.records) == len(messages), "nothing is logged after the block"


def test_short_work_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    assert list(track(range(1000), "index", 1000)) == list(range(1000))
    assert not caplog.records


def test_an_error_ends_the_lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "autolora.progress")
    monkeypatch.setattr(module, "INTERVAL_S", 0.01)
    with pytest.raises(ValueError, match="broken"):
        for _ in track(range(3), "index"):
            raise ValueError("broken")
    count = len(caplog.records)
    time.sleep(0.05)
    assert len(caplog.records) == count


def test_lines_are_printed_once_and_to_the_present_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [io.StringIO(), io.StringIO()]
    monkeypatch.setattr(module.logger, "handlers", [])
    for stream in streams:
        monkeypatch.setattr("sys.stderr", stream)
        show_progress()
    module.logger.info("[index] 1 file")
    assert [stream.getvalue() for stream in streams] == ["", "[index] 1 file\n"]
