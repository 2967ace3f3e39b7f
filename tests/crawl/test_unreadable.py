"""Entries of a list that cannot be read: they alone are kept, whatever else has their letters in it."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.records import Listing
from tests.support.fake_hub import MIDNIGHT, Shelf
from tests.support.tiny_pool import RULES as ONE_HUB

DAYS = [MIDNIGHT.date() + datetime.timedelta(days=day) for day in range(3)]
RULES = replace(ONE_HUB, hubs=("huggingface",), max_nsfw_level="explicit", sweep_days=1)


def put_all(shelf: Shelf, *ids: str) -> None:
    for hour, id in enumerate(ids):
        shelf.put(id, hour)


def crawled(root: Path, shelf: Shelf, day: int) -> Mapping[str, Listing]:
    """Crawl on a day and return the entries by id."""
    crawl.write(root, crawl.plan(root, [crawl.look(root, shelf, RULES, DAYS[day])], RULES, DAYS[day]))
    return {row.id: row for row in catalog.entries(root)}


@pytest.mark.parametrize(
    ("deleted", "unreadable"),
    [("a", "ann/ink"), ("bob/cat", "bob/cat-v2"), ("771", "77123"), ("date", "x/y")],
)
def test_a_deleted_adapter_is_withdrawn_while_one_with_its_letters_is_unreadable(
    tmp_path: Path, deleted: str, unreadable: str
) -> None:
    shelf = Shelf()
    put_all(shelf, deleted, unreadable, "cat/sea", "cat/tree")
    crawled(tmp_path, shelf, 0)
    shelf.unreadable.add(unreadable)
    del shelf.models[deleted]
    rows = crawled(tmp_path, shelf, 1)
    assert {id: (row.status, row.stale_since) for id, row in rows.items()} == {
        deleted: ("withdrawn", None),
        unreadable: ("listed", DAYS[1]),
        "cat/sea": ("listed", None),
        "cat/tree": ("listed", None),
    }


def test_what_could_not_be_read_before_a_kill_is_remembered(tmp_path: Path) -> None:
    """The day's second look goes on from the journal, where the unreadable entry is on a page read before."""
    shelf = Shelf(page_size=1)
    put_all(shelf, "a", "b", "c", "d")
    crawled(tmp_path, shelf, 0)
    shelf.unreadable.add("d")
    shelf.broken_pages.add(2)
    look = crawl.look(tmp_path, shelf, RULES, DAYS[1])
    assert look.journal is None and "broke off" in look.problems[-1]
    shelf.broken_pages.clear()
    shelf.asked.clear()
    row = crawled(tmp_path, shelf, 1)["d"]
    assert (shelf.asked["page"], shelf.asked["standing"]) == (2, 0)
    assert (row.status, row.stale_since) == ("listed", DAYS[1])


def test_a_journal_that_does_not_tell_what_was_unreadable_is_begun_anew(tmp_path: Path) -> None:
    shelf = Shelf(page_size=1)
    put_all(shelf, "a", "b", "c")
    shelf.unreadable.add("c")
    shelf.broken_pages.add(1)
    crawl.look(tmp_path, shelf, RULES, DAYS[0])
    (path,) = tmp_path.rglob("crawl/*.jsonl")
    text = path.read_text()
    assert ',"unreadable":["c"]' in text
    path.write_text(text.replace(',"unreadable":["c"]', ""))
    shelf.broken_pages.clear()
    shelf.asked.clear()
    crawled(tmp_path, shelf, 0)
    assert shelf.asked["page"] == 3
