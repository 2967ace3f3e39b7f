"""The catalog: what stays, what goes, and what a failing hub does to it."""

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autolora import crawl
from autolora.errors import HubError, MissingArtefact
from autolora.hubs.huggingface import HuggingFace
from autolora.params import CrawlParams
from autolora.records import Listing
from playground.hub import Hub, running
from tests.tiny_pool import RULES, make_pool

MONDAY = datetime.date(2026, 1, 5)
TUESDAY = datetime.date(2026, 1, 6)


class Night:
    """A repository's root, the hub it looks at, and one crawl of it."""

    def __init__(self, root: Path, hub: Hub, endpoint: str) -> None:
        self.root, self.hub = root, hub
        self.huggingface = HuggingFace(endpoint, 5.0, 1, None)

    def crawl(self, day: datetime.date, rules: CrawlParams = RULES) -> dict[str, Listing]:
        crawl.write(self.root, crawl.look(self.root, self.huggingface, rules, day), rules)
        return {listing.id: listing for listing in crawl.catalog(self.root)}


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    hub = Hub(make_pool(tmp_path / "pool"), day=1, page_size=3)
    with running(hub) as endpoint:
        yield Night(tmp_path / "root", hub, endpoint)


def test_a_second_crawl_asks_for_pages_and_changes_nothing(night: Night) -> None:
    night.crawl(MONDAY)
    before = crawl.catalog_path(night.root).stat()
    night.hub.change({"reset": True})
    night.crawl(TUESDAY)
    after = crawl.catalog_path(night.root).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert night.hub.requests().keys() == {"listing", "paths"}


def test_a_night_of_news(night: Night) -> None:
    before = night.crawl(MONDAY)
    night.hub.change({"day": 2, "withdraw": "bob/cat", "licence": ["ann/ink", "cc0-1.0"], "reset": True})
    after = night.crawl(TUESDAY)
    assert after.keys() == before.keys() - {"bob/cat"} | {"bob/late", "cat/later"}
    assert {id for id, listing in after.items() if listing.first_seen == TUESDAY} == {"bob/late", "cat/later"}
    assert after["ann/ink"].licence == "cc0-1.0"
    assert (
        after["ann/ink"].key == before["ann/ink"].key and after["ann/ink"].digest != before["ann/ink"].digest
    )
    assert after["ann/neon"] == before["ann/neon"]
    assert night.hub.requests()["tree"] == 3


def test_the_catalog_is_sorted_and_by_the_rules(night: Night) -> None:
    night.crawl(MONDAY)
    rows = crawl.catalog(night.root)
    assert [row.id for row in rows] == sorted(row.id for row in rows)
    hidden = replace(RULES, licences=("cc0-1.0",))
    assert crawl.write(night.root, rows, hidden) == []
    assert crawl.write(night.root, [replace(rows[0], nsfw=True)], replace(RULES, nsfw=False)) == []
    assert crawl.write(night.root, [replace(rows[0], size=2_000_000)], RULES) == []


def test_a_file_keeps_its_first_day_wherever_it_is_listed(night: Night) -> None:
    old = night.crawl(MONDAY)["ann/ink"]
    moved = replace(old, id="zoe/copy", first_seen=TUESDAY)
    (written,) = crawl.write(night.root, [moved], RULES)
    assert written.first_seen == MONDAY


def test_a_failing_hub_leaves_the_catalog_as_it_was(night: Night) -> None:
    night.crawl(MONDAY)
    before = crawl.catalog_path(night.root).read_bytes()
    night.hub.change({"day": 2, "fail": {"kind": "listing", "path": "", "status": 500, "times": 1}})
    with pytest.raises(HubError, match=r"answered 500 \(the catalog was not changed\)"):
        night.crawl(TUESDAY)
    night.hub.stop()
    with pytest.raises(HubError, match=r"cannot be reached: .* \(the catalog was not changed\)"):
        night.crawl(TUESDAY)
    assert crawl.catalog_path(night.root).read_bytes() == before


def test_a_hub_that_forgot_everything_is_not_believed(night: Night) -> None:
    night.crawl(MONDAY)
    with pytest.raises(HubError, match="lists nothing where it listed 4 files"):
        night.crawl(TUESDAY, replace(RULES, filters=("no-such-tag",)))


def test_listings_survive_the_catalog_whatever_they_say(tmp_path: Path) -> None:
    class Hostile:
        name = "hostile"

        def listings(
            self, rules: CrawlParams, known: Iterable[Listing], today: datetime.date
        ) -> Iterator[Listing]:
            words = ("a\u2028b\x85c\x1d", "\U0001f408")
            yield Listing(
                hub=self.name, id="a/b", version="1", file="x.safetensors", url="https://x/y", size=None,
                sha256=None, licence=None, base_model=None, nsfw=False, trigger_words=words, renderings=(),
                first_seen=today,
            )  # fmt: skip

        def download(self, url: str, target: Path, limit: int) -> str:
            raise AssertionError

    found = crawl.look(tmp_path, Hostile(), RULES, MONDAY)
    crawl.write(tmp_path, found, RULES)
    assert crawl.catalog(tmp_path) == found


def test_a_catalog_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingArtefact, match="run `dvc repro crawl`"):
        crawl.catalog(tmp_path)


@pytest.mark.parametrize("line", ['{"hub": "x"}', "<<<<<<< HEAD", "[]", "3", '{"hub": "huggingf'])
def test_a_broken_line_is_named(night: Night, line: str) -> None:
    night.crawl(MONDAY)
    path = crawl.catalog_path(night.root)
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(MissingArtefact, match="line 2 is no listing"):
        crawl.catalog(night.root)
