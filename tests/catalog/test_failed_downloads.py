"""What could not be had: noted once a day, set aside, asked for again later and later."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import failed_downloads
from autolora.catalog.diff import NAMED, Snapshot, compare, lacks, to_markdown
from autolora.catalog.failed_downloads import MOST_NIGHTS, Setback

DAY = datetime.date(2026, 1, 5)


def vain(key: str, day: datetime.date = DAY) -> Setback:
    return Setback(
        key=key, hub="civitai", id="77", name=f"77/{key}.safetensors", why="hash mismatch", last=day
    )


def after(days: int) -> datetime.date:
    return DAY + datetime.timedelta(days=days)


def test_what_is_asked_for_in_vain_waits_twice_as_long_every_time(tmp_path: Path) -> None:
    day, waited = DAY, []
    for _ in range(7):
        failed_downloads.note(tmp_path, [vain("a", day)], {"a"}, day)
        due = failed_downloads.read(tmp_path)["a"].due
        waited.append((due - day).days)
        day = due
    assert waited == [1, 2, 4, 8, 16, MOST_NIGHTS, MOST_NIGHTS]


def test_a_night_counts_once_however_often_it_is_tried(tmp_path: Path) -> None:
    for _ in range(3):
        failed_downloads.note(tmp_path, [vain("a")], {"a"}, DAY)
    assert failed_downloads.read(tmp_path)["a"].nights == 1


def test_it_waits_until_it_is_due_and_not_for_a_day_that_was_not_yet() -> None:
    one = vain("a")
    assert one.waits(DAY) and not one.waits(after(1)) and not one.waits(after(-1))


def test_what_has_come_is_forgotten_and_what_is_set_aside_is_not(tmp_path: Path) -> None:
    failed_downloads.note(tmp_path, [vain("a"), vain("b")], {"a", "b"}, DAY)
    failed_downloads.note(tmp_path, [], {"a"}, DAY)  # b is not asked for: it is set aside
    assert failed_downloads.read(tmp_path).keys() == {"b"}
    failed_downloads.note(tmp_path, [], {"a", "b"}, after(1))
    assert not failed_downloads.path(tmp_path).exists()


def test_what_nobody_lists_any_more_is_forgotten_at_last(tmp_path: Path) -> None:
    failed_downloads.note(tmp_path, [vain("a")], {"a"}, DAY)
    failed_downloads.note(tmp_path, [], (), after(14))
    assert failed_downloads.read(tmp_path)
    failed_downloads.note(tmp_path, [], (), after(15))
    assert not failed_downloads.read(tmp_path)


@pytest.mark.parametrize("line", ["nonsense", "[]", "7", '{"key": "a"}', '{"last": 7}', '{"last": null}'])
def test_damaged_notes_count_as_none(tmp_path: Path, line: str) -> None:
    failed_downloads.path(tmp_path).parent.mkdir()
    failed_downloads.path(tmp_path).write_text(line + "\n")
    assert failed_downloads.read(tmp_path) == {}
    failed_downloads.note(tmp_path, [vain("a")], {"a"}, DAY)
    assert failed_downloads.read(tmp_path).keys() == {"a"}


def test_the_morning_reads_what_could_not_be_had_and_why() -> None:
    models = [
        replace(vain("a"), id=f"{number}", name=f"{number}/a.safetensors") for number in range(NAMED + 2)
    ]
    told = to_markdown(compare(Snapshot((), {}), Snapshot((), {})), models)
    assert "- **set aside: `civitai:0/a.safetensors`** (hash mismatch); asked for again on 2026-01-06" in told
    assert "- set aside: 2 more models" in told


def test_a_model_takes_a_line_and_files_come_before_pictures() -> None:
    def shown(id: str, number: int, days: int = 0) -> Setback:
        url = f"https://hub/{id}/{number}.png"
        return Setback(
            key=url, hub="civitai", id=id, name=url, why=f"hub civitai: {url}: 404", last=after(days)
        )

    pictures = [*(shown("5", number) for number in range(4)), shown("77", 0, days=-1), shown("78", 0)]
    files = [vain("b"), vain("a"), replace(vain("c"), id="78", name="78/c.safetensors", why="w" * 300)]
    first, second, third = lacks([*pictures, *files])
    assert (first.name, first.others) == ("civitai:77/a.safetensors", " and 1 more file and 1 picture")
    assert (first.why, first.due) == ("hash mismatch", after(0))
    assert (second.name, second.others) == ("civitai:78/c.safetensors", " and 1 picture")
    assert second.why == "w" * 199 + "…"
    assert (third.name, third.others) == ("civitai:5", ": 4 pictures")
    assert third.why == "https://hub/5/0.png: 404"
