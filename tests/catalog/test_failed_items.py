"""Failed items: counted once per day, retried with exponential backoff, and dropped when they succeed."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import failed_items
from autolora.catalog.failed_items import MAX_DELAY_DAYS, FailedItem

DAY = datetime.date(2026, 1, 5)


def failed(key: str, day: datetime.date = DAY) -> FailedItem:
    """Return a failed download of a file on a day."""
    return FailedItem(
        stage="pool", key=key, hub="civitai", id="77", name=f"77/{key}.safetensors", reason="hash mismatch",
        last_attempt=day,
    )  # fmt: skip


def days_later(days: int) -> datetime.date:
    return DAY + datetime.timedelta(days=days)


def test_delay_doubles_with_every_failed_attempt(tmp_path: Path) -> None:
    day, delays = DAY, []
    for _ in range(7):
        failed_items.record(tmp_path, "pool", [failed("a", day)], {"a"}, day)
        retry_on = failed_items.read(tmp_path)["a"].retry_on
        delays.append((retry_on - day).days)
        day = retry_on
    assert delays == [1, 2, 4, 8, 16, MAX_DELAY_DAYS, MAX_DELAY_DAYS]


def test_several_attempts_of_a_day_count_once(tmp_path: Path) -> None:
    for _ in range(3):
        failed_items.record(tmp_path, "pool", [failed("a")], {"a"}, DAY)
    assert failed_items.read(tmp_path)["a"].failed_attempts == 1


def test_is_deferred_until_its_retry_and_not_before_its_last_attempt() -> None:
    download = failed("a")
    assert download.is_deferred(DAY)
    assert not download.is_deferred(days_later(1)) and not download.is_deferred(days_later(-1))


def test_arrived_downloads_are_dropped_and_deferred_ones_are_retained(tmp_path: Path) -> None:
    failed_items.record(tmp_path, "pool", [failed("a"), failed("b")], {"a", "b"}, DAY)
    failed_items.record(tmp_path, "pool", [], {"a"}, DAY)  # b is not wanted: it is deferred
    assert failed_items.read(tmp_path).keys() == {"b"}
    failed_items.record(tmp_path, "pool", [], {"a", "b"}, days_later(1))
    assert not failed_items.path(tmp_path).exists()


def test_each_stage_drops_its_own_rows_only(tmp_path: Path) -> None:
    image = replace(failed("a"), stage="captions")
    failed_items.record(tmp_path, "captions", [image], {"a"}, DAY)
    failed_items.record(tmp_path, "pool", [failed("b")], {"a", "b"}, days_later(1))  # a was downloaded again
    assert failed_items.read(tmp_path).keys() == {"a", "b"}
    failed_items.record(tmp_path, "captions", [image], {"a", "b"}, days_later(1))  # and failed again
    attempts = {key: item.failed_attempts for key, item in failed_items.read(tmp_path).items()}
    assert attempts == {"a": 2, "b": 1}
    failed_items.record(tmp_path, "captions", [], {"a", "b"}, days_later(3))
    assert failed_items.read(tmp_path).keys() == {"b"}


def test_downloads_that_are_no_longer_listed_expire(tmp_path: Path) -> None:
    failed_items.record(tmp_path, "pool", [failed("a")], {"a"}, DAY)
    failed_items.record(tmp_path, "pool", [], (), days_later(14))
    assert failed_items.read(tmp_path)
    failed_items.record(tmp_path, "pool", [], (), days_later(15))
    assert not failed_items.read(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "7",
        '{"key": "a"}',
        '{"key": "a", "stage": "index", "last_attempt": "2026-01-05"}',
        '{"last_attempt": 7}',
        '{"last_attempt": null}',
    ],
)
def test_damaged_file_counts_as_empty(tmp_path: Path, line: str) -> None:
    failed_items.path(tmp_path).parent.mkdir()
    failed_items.path(tmp_path).write_text(line + "\n")
    assert failed_items.read(tmp_path) == {}
    failed_items.record(tmp_path, "pool", [failed("a")], {"a"}, DAY)
    assert failed_items.read(tmp_path).keys() == {"a"}
