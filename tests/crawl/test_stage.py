"""The stage crawl: what stays, what goes, and what a failing hub does to the catalog."""

import datetime
import json
import random
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import pytest

from autolora.catalog import failed_downloads
from autolora.catalog import store as catalog_store
from autolora.catalog.failed_downloads import Setback
from autolora.crawl import stage as crawl
from autolora.crawl import watermarks
from autolora.errors import HubError, MissingArtifact
from autolora.hubs import Model, Page, Standing
from autolora.params import BudgetParams, CrawlParams
from autolora.records import Listing
from autolora.storage.files import hash_value
from tests.support.fake_hub import MIDNIGHT, Shelf
from tests.support.tiny_pool import RULES as ONE_HUB

RULES = replace(
    ONE_HUB, hubs=("huggingface", "civitai"), max_nsfw_level="explicit", sweep_days=1, overlap_h=2.0
)
INCREMENTS = replace(RULES, sweep_days=100)
DAYS = [MIDNIGHT.date() + datetime.timedelta(days=day) for day in range(10)]


class Nights:
    """A repository's root, two hubs, and crawls of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shelf, self.other = Shelf("huggingface"), Shelf("civitai")
        for hour, id in enumerate(("ann/ink", "ann/neon", "bob/cat", "bob/dog", "cat/sea")):
            self.shelf.put(id, hour)
        self.other.put("77", 1)

    def run(self, day: int, rules: CrawlParams = RULES) -> dict[str, Listing]:
        """Crawl both hubs on a day and return the entries by id."""
        looks = [self.look(hub, day, rules) for hub in (self.shelf, self.other)]
        plan = crawl.plan(self.root, looks, rules, DAYS[day])
        crawl.write(self.root, plan)
        return {row.id: row for row in catalog_store.entries(self.root)}

    def look(self, hub: Shelf, day: int, rules: CrawlParams) -> crawl.Look:
        hub.asked.clear()
        try:
            return crawl.look(self.root, hub, rules, DAYS[day])
        except HubError as error:
            return crawl.miss(self.root, hub.name, error, DAYS[day])

    def states(self, day: int, rules: CrawlParams = RULES) -> dict[str, str]:
        """Crawl and return id -> status."""
        return {id: row.status for id, row in self.run(day, rules).items()}


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def test_a_second_crawl_asks_for_pages_and_changes_nothing(nights: Nights) -> None:
    nights.run(0)
    assert (nights.shelf.asked["page"], nights.shelf.asked["model"]) == (2, 5)
    before = catalog_store.catalog_path(nights.root).stat()
    nights.run(1)
    assert nights.shelf.asked == {"page": 2}
    after = catalog_store.catalog_path(nights.root).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_an_increment_stops_at_the_watermark_with_some_overlap(nights: Nights) -> None:
    for number in range(30):
        nights.shelf.put(f"more/{number}", 100 + number)
    nights.run(8, INCREMENTS)
    assert nights.shelf.asked["page"] == 12
    nights.shelf.put("new/one", 131)
    rows = nights.run(9, INCREMENTS)
    assert nights.shelf.asked == {"page": 3, "model": 1}
    assert rows["new/one"].first_seen == DAYS[9] and len(rows) == 37


def test_news_that_are_left_out_move_the_watermark_too(nights: Nights) -> None:
    nights.run(0, INCREMENTS)
    for number in range(30):
        nights.shelf.put(f"more/{number}", 20 + number, base="flux.2")
    nights.run(5, INCREMENTS)
    assert nights.shelf.asked["page"] > 10
    assert len(nights.run(6, INCREMENTS)) == 6
    assert nights.shelf.asked == {"page": 2}


def test_a_date_in_the_future_does_not_move_the_watermark_beyond_today(nights: Nights) -> None:
    nights.shelf.put("eve/late", 24 * 365)
    nights.run(0, INCREMENTS)
    assert watermarks.read(nights.root)["huggingface"].newest == watermarks.end_of(DAYS[0])
    nights.shelf.put("new/one", 30)
    assert "new/one" in nights.run(1, INCREMENTS)


def test_what_could_not_be_asked_about_is_asked_about_again(nights: Nights) -> None:
    nights.run(0, INCREMENTS)
    for number in range(30):
        nights.shelf.put(f"more/{number}", 20 + number)
    nights.shelf.broken_models.add("more/2")
    assert "more/2" not in nights.run(5, INCREMENTS)
    nights.shelf.broken_models.clear()
    assert nights.run(6, INCREMENTS)["more/2"].status == "listed"


@pytest.mark.parametrize("harm", ["lost", "damaged", "of another catalog"])
def test_without_watermarks_whole_lists_are_read(nights: Nights, harm: str) -> None:
    for number in range(30):
        nights.shelf.put(f"more/{number}", 100 + number)
    nights.run(0, INCREMENTS)
    path = nights.root / watermarks.PATH
    if harm == "lost":
        path.unlink()
    elif harm == "damaged":
        path.write_text(path.read_text()[:-20])
    else:
        catalog = catalog_store.catalog_path(nights.root)
        catalog.write_text(catalog.read_text().partition("\n")[2])
    nights.run(1, INCREMENTS)
    assert nights.shelf.asked["page"] == 12


def test_a_night_of_news(nights: Nights) -> None:
    before = nights.run(0)
    nights.shelf.put("ann/ink", 50, sha256=before["ann/ink"].sha256, license="cc0-1.0", downloads=99)
    nights.shelf.put("dan/new", 51)
    after = nights.run(1)
    assert {id for id, row in after.items() if row.first_seen == DAYS[1]} == {"dan/new"}
    assert after["ann/ink"].license == "cc0-1.0" and after["ann/ink"].downloads == 10
    assert after["ann/ink"].digest != before["ann/ink"].digest
    assert after["ann/neon"] == before["ann/neon"]


def test_the_catalog_is_in_the_order_of_the_hubs_then_of_ids(nights: Nights) -> None:
    nights.run(0)
    ids = ["ann/ink", "ann/neon", "bob/cat", "bob/dog", "cat/sea"]
    assert [row.id for row in catalog_store.catalog(nights.root)] == [*ids, "77"]
    nights.run(1, replace(RULES, hubs=("civitai", "huggingface")))
    assert [row.id for row in catalog_store.catalog(nights.root)] == ["77", *ids]


def test_a_file_keeps_its_first_day_wherever_it_is_listed(nights: Nights) -> None:
    old = nights.run(0)["ann/ink"]
    nights.other.put("78", 60, sha256=old.sha256)
    del nights.shelf.models["ann/ink"]
    after = nights.run(3)
    assert after["78"].first_seen == DAYS[0] and after["78"].key == old.key


def test_a_hub_that_is_down_leaves_its_entries_stale_and_the_others_news_arrive(nights: Nights) -> None:
    before = nights.run(0)
    nights.shelf.down = True
    nights.other.put("78", 60)
    for day in (1, 2):
        after = nights.run(day)
        assert after.keys() == {*before, "78"}
        assert {row.stale_since for row in after.values() if row.hub == "huggingface"} == {DAYS[1]}
        assert {row.status for row in after.values()} == {"listed"}
        assert after["78"].stale_since is None
    nights.shelf.down = False
    assert {row.stale_since for row in nights.run(3).values()} == {None}


def test_with_all_hubs_down_nothing_changes(nights: Nights) -> None:
    nights.run(0)
    before = catalog_store.catalog_path(nights.root).read_bytes()
    nights.shelf.down = nights.other.down = True
    with pytest.raises(HubError, match=r"cannot be reached \| .* \(the catalog was not changed\)"):
        nights.run(1)
    assert catalog_store.catalog_path(nights.root).read_bytes() == before


def test_a_list_that_breaks_off_brings_what_it_told_and_loses_nothing(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.put("dan/new", 60)
    nights.shelf.broken_pages.add(1)
    after = nights.run(1)
    assert after["dan/new"].status == "listed"
    assert {id for id, row in after.items() if row.stale_since} == {"ann/ink", "ann/neon", "bob/cat"}
    assert watermarks.read(nights.root)["huggingface"].swept == DAYS[0]
    nights.shelf.broken_pages.clear()
    assert {row.stale_since for row in nights.run(2).values()} == {None}


def test_a_hub_that_forgot_everything_is_not_believed(nights: Nights) -> None:
    before = nights.run(0)
    nights.shelf.models.clear()
    with pytest.raises(HubError, match="lists nothing where it listed 5 files"):
        crawl.look(nights.root, nights.shelf, RULES, DAYS[1])
    assert nights.run(1).keys() == before.keys()


def test_a_list_cut_short_withdraws_nothing_that_is_there(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.hidden = {"ann/ink", "ann/neon", "bob/cat"}
    for day in (1, 2, 3):
        states = nights.states(day)
        assert [states[id] for id in sorted(nights.shelf.hidden)] == ["missing"] * 3


def test_a_model_that_fails_does_not_touch_the_others(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.put("ann/ink", 60)
    nights.shelf.put("dan/new", 61)
    nights.shelf.broken_models.add("ann/ink")
    after = nights.run(1)
    assert after["ann/ink"].stale_since == DAYS[1] and after["ann/ink"].version == "0"
    assert after["dan/new"].status == "listed" and after["ann/neon"].stale_since is None


def test_a_hub_whose_models_all_fail_is_not_asked_on_and_on(nights: Nights) -> None:
    for number in range(30):
        nights.shelf.put(f"more/{number}", 20 + number)
    nights.shelf.broken_models = set(nights.shelf.models)
    assert nights.run(0).keys() == {"77"}
    assert nights.shelf.asked["model"] == 5


@pytest.mark.parametrize("harm", ["killed", "damaged", "another day"])
def test_a_crawl_that_was_killed_goes_on_where_it_was(nights: Nights, harm: str) -> None:
    for number in range(30):
        nights.shelf.put(f"more/{number}", 100 + number)
    look = crawl.look(nights.root, nights.shelf, RULES, DAYS[0])
    assert look.journal and look.journal.path
    head, *lines = look.journal.path.read_text().splitlines(keepends=True)
    pages = [line for line in lines if line.startswith('{"page"')][:8]
    told = [line for line in lines if line.startswith('{"done"')][:20]
    torn = '{"page":{"mod' if harm == "killed" else "}}}\n" if harm == "damaged" else ""
    look.journal.path.write_text("".join([head, *pages, *told, torn]))
    nights.run(1 if harm == "another day" else 0)
    expected = {"page": 4, "model": 15} if harm == "killed" else {"page": 12, "model": 35}
    assert nights.shelf.asked == expected
    assert len(catalog_store.catalog(nights.root)) == 36
    assert not list((nights.root / "cache/crawl").iterdir())


def test_a_cursor_that_is_refused_begins_the_list_anew(nights: Nights) -> None:
    nights.shelf.broken_pages.add(1)
    nights.run(0)
    nights.run(0)
    assert nights.shelf.asked["page"] == 3
    nights.shelf.broken_pages.clear()
    assert len(nights.run(0)) == 6


def test_a_list_in_circles_ends(nights: Nights) -> None:
    class Circle(Shelf):
        def page(self, *arguments: Any) -> Any:
            return replace(super().page(*arguments), next="3")

    circle = Circle("huggingface", models=nights.shelf.models)
    look = crawl.look(nights.root, circle, RULES, DAYS[0])
    assert "runs in circles" in look.problems[-1] and len(look.rows) == 3


def test_a_list_without_an_end_is_given_up(nights: Nights) -> None:
    nights.run(0)
    with patch.object(Shelf, "page", lambda *_: Page(models=(), next=uuid.uuid4().hex, problems=())):
        look = nights.look(nights.shelf, 1, RULES)
    assert "nothing new" in look.problems[-1] and {row.stale_since for row in look.rows} == {DAYS[1]}


def test_entries_that_move_between_pages_are_met_once_or_missing_for_a_night(nights: Nights) -> None:
    class Moving(Shelf):
        def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Any:
            page = super().page(rules, cursor, today)
            if cursor is None and "dan/new" not in self.models:
                self.put("dan/new", 60)  # pushes one entry to the next page
            elif cursor is None:
                self.put("ann/ink", 70)  # leaves the next page for the one that was read
            return page

    nights.shelf = Moving("huggingface", models=nights.shelf.models)
    assert len(nights.run(0)) == 6
    assert nights.states(1)["ann/ink"] == "missing"
    assert nights.states(2)["ann/ink"] == "listed" and len(catalog_store.entries(nights.root)) == 7


def test_withdrawn_by_the_list_or_by_its_page_is_a_tombstone_at_once(nights: Nights) -> None:
    before = nights.run(0)
    nights.shelf.models["ann/ink"] = replace(nights.shelf.models["ann/ink"], drafts=(), withdrawn=True)
    nights.shelf.hidden |= {"ann/neon", "bob/cat"}
    nights.shelf.standings["ann/neon"] = [Standing.WITHDRAWN]
    nights.shelf.standings["bob/cat"] = [Standing.ABSENT, Standing.ABSENT]
    after = nights.run(1)
    assert {id for id, row in after.items() if row.status == "withdrawn"} == {
        "ann/ink",
        "ann/neon",
        "bob/cat",
    }
    tomb = after["ann/ink"]
    assert (tomb.sha256, tomb.first_seen, tomb.withdrawn) == (before["ann/ink"].sha256, DAYS[0], DAYS[1])
    assert (tomb.license, tomb.renderings, tomb.url) == (None, (), "")
    assert {row.id for row in catalog_store.catalog(nights.root)} == {"bob/dog", "cat/sea", "77"}
    assert nights.run(2) == after


def test_a_404_in_passing_withdraws_nothing(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.hidden.add("ann/ink")
    nights.shelf.standings["ann/ink"] = [Standing.ABSENT, Standing.THERE]
    assert nights.states(1)["ann/ink"] == "missing"
    nights.shelf.standings["ann/ink"] = [Standing.ABSENT, None]
    row = nights.run(2)["ann/ink"]
    assert (row.status, row.stale_since) == ("missing", DAYS[2])


def test_missing_from_the_list_alone_is_a_tombstone_the_second_time(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.hidden.add("ann/ink")
    assert nights.states(1)["ann/ink"] == "missing"
    assert "ann/ink" in {row.id for row in catalog_store.catalog(nights.root)}
    assert nights.states(2)["ann/ink"] == "withdrawn"
    nights.shelf.hidden.clear()
    back = nights.run(3)["ann/ink"]
    assert (back.status, back.first_seen, back.withdrawn) == ("listed", DAYS[0], None)


def test_an_entry_that_cannot_be_read_is_stale_and_not_missing(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.unreadable.add("ann/ink")
    for day in (1, 2, 3):
        row = nights.run(day)["ann/ink"]
        assert (row.status, row.stale_since) == ("listed", DAYS[1])
    assert nights.shelf.asked["standing"] == 0


def test_where_a_list_names_no_files_one_that_is_not_there_once_is_not_withdrawn(nights: Nights) -> None:
    class Nameless(Shelf):
        def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
            page = super().page(rules, cursor, today)
            bare = [
                replace(one, drafts=tuple(replace(d, file="", url="") for d in one.drafts))
                for one in page.models
            ]
            return replace(page, models=tuple(bare))

        def complete(
            self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
        ) -> tuple[Listing, ...]:
            self.asked["model"] += bool(model.id not in {row.id for row in known.values()})
            return () if model.id in self.hidden_files else self.models[model.id].drafts

        hidden_files: ClassVar[set[str]] = set()

    shelf = nights.shelf = Nameless("huggingface", models=nights.shelf.models)
    nights.run(0)
    assert shelf.asked["model"] == 5
    shelf.hidden_files.add("ann/ink")
    assert nights.states(1)["ann/ink"] == "missing" and shelf.asked["model"] == 0
    del shelf.models["ann/ink"]
    assert nights.states(2)["ann/ink"] == "withdrawn"
    shelf.put("bob/cat", 40, file="other.safetensors")
    rows = {row.file: row.status for row in catalog_store.entries(nights.root) if row.id == "bob/cat"}
    assert rows == {"lora.safetensors": "listed"}
    for day, status in ((3, "missing"), (4, "withdrawn")):
        nights.run(day)
        rows = {row.file: row.status for row in catalog_store.entries(nights.root) if row.id == "bob/cat"}
        assert rows == {"lora.safetensors": status, "other.safetensors": "listed"}


def test_a_model_whose_list_lost_its_files_is_asked_about(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.models["ann/ink"] = replace(nights.shelf.models["ann/ink"], drafts=())
    assert nights.states(1)["ann/ink"] == "missing"
    assert nights.states(2)["ann/ink"] == "withdrawn"


def test_missing_and_seen_again_begins_anew(nights: Nights) -> None:
    nights.run(0)
    for day, hidden in ((1, {"ann/ink"}), (2, set()), (3, {"ann/ink"})):
        nights.shelf.hidden = hidden
        assert nights.states(day)["ann/ink"] == ("missing" if hidden else "listed")


def test_a_file_that_its_model_has_no_more_is_a_tombstone_the_second_time(nights: Nights) -> None:
    nights.run(0)
    nights.shelf.put("ann/ink", 60, file="other.safetensors")
    for day, status in ((1, "missing"), (2, "withdrawn")):
        nights.run(day)
        rows = {row.file: row.status for row in catalog_store.entries(nights.root) if row.id == "ann/ink"}
        assert rows == {"lora.safetensors": status, "other.safetensors": "listed"}


def test_models_that_all_lost_their_files_are_not_believed(nights: Nights) -> None:
    nights.run(0)
    for id, model in nights.shelf.models.items():
        nights.shelf.models[id] = replace(
            model, drafts=tuple(replace(draft, file="other.txt") for draft in model.drafts)
        )
    with patch.object(Shelf, "complete", lambda *_: ()):
        for day in (1, 2, 3):
            look = nights.look(nights.shelf, day, RULES)
            assert "taken for one cut short" in look.problems[-1]
            crawl.write(nights.root, crawl.plan(nights.root, [look], RULES, DAYS[day]))
            assert {row.status for row in look.rows} == {"missing"} and len(look.rows) == 5


@pytest.mark.parametrize(
    ("rule", "value", "fields"),
    [
        ("bases", ("flux.2",), {}),
        ("licenses", ("cc0-1.0",), {}),
        ("max_nsfw_level", "soft", {"nsfw": True, "nsfw_level": "mature"}),
        ("max_nsfw_level", "soft", {"nsfw": True}),
        ("persons", False, {"person": True}),
        ("minors", False, {"minor": True}),
        ("min_downloads", 11, {}),
        ("max_file_mb", 0.0005, {}),
        ("newest", 3, {}),
    ],
)
def test_a_rule_holds_for_what_is_in_the_catalog_too(
    nights: Nights, rule: str, value: Any, fields: dict[str, Any]
) -> None:
    allowing = replace(RULES, minors=True)
    nights.shelf.put("ann/ink", 0, **fields)
    assert "ann/ink" in nights.run(0, allowing)
    changed = replace(RULES, **{rule: value})
    assert "ann/ink" not in nights.run(1, changed)
    looks = [nights.look(nights.shelf, 2, changed)]
    left_out = crawl.plan(nights.root, looks, changed, DAYS[2]).left_out["huggingface"]
    assert left_out[rule] >= 1 and left_out.keys() == {rule}
    assert "ann/ink" in nights.run(2, replace(allowing, sweep_days=100))


def test_pictures_above_the_level_or_the_number_are_left_out(nights: Nights) -> None:
    shown = nights.shelf.models["ann/ink"].drafts[0].renderings[0]
    levels = ("explicit", None, "none", "soft")
    pictures = tuple(replace(shown, url=str(n), nsfw_level=level) for n, level in enumerate(levels))
    nights.shelf.put("ann/ink", 0, renderings=pictures)
    assert nights.run(0, replace(RULES, max_renderings=9))["ann/ink"].renderings == pictures
    nights.shelf.down = True
    row = nights.run(1, replace(RULES, max_nsfw_level="soft"))["ann/ink"]
    assert [picture.nsfw_level for picture in row.renderings] == [None, "none"]


def test_what_is_not_told_passes_the_rules(nights: Nights) -> None:
    nights.shelf.put("ann/ink", 0, base=None, base_model=None, downloads=None, size=None, person=None)
    strict = replace(RULES, bases=("flux.1-dev",), min_downloads=5, max_file_mb=0.01, persons=False)
    assert nights.run(0, strict)["ann/ink"].status == "listed"


def test_the_budget_queues_the_rest_oldest_first_then_most_downloaded(nights: Nights) -> None:
    rules = replace(RULES, budget=BudgetParams(files=2, gb=None, captions=None))
    nights.shelf.put("cat/sea", 4, downloads=500)
    listed = ["cat/sea", "ann/ink"]
    for day, news in enumerate((["ann/neon", "bob/cat"], ["bob/dog", "77"], ["zoe/hit"]), 1):
        assert {id for id, state in nights.states(day, rules).items() if state == "listed"} == {*listed}
        nights.shelf.put("zoe/hit", 60, downloads=10**6)
        listed += news
    assert {row.id for row in catalog_store.catalog(nights.root)} == {*listed} - {"zoe/hit"}


def test_the_budget_counts_bytes_and_captions(nights: Nights) -> None:
    by_size = replace(RULES, budget=BudgetParams(files=None, gb=3000 / 1e9, captions=None))
    assert list(nights.states(0, by_size).values()).count("queued") == 3
    by_captions = replace(RULES, budget=BudgetParams(files=None, gb=None, captions=3))
    assert list(nights.states(1, by_captions).values()).count("queued") == 2


def test_a_file_above_the_whole_budget_waits_and_blocks_nobody(nights: Nights) -> None:
    nights.shelf.put("ann/ink", 0, downloads=10**6, size=5000)
    rules = replace(RULES, budget=BudgetParams(files=None, gb=2000 / 1e9, captions=None))
    looks = [nights.look(nights.shelf, 0, rules)]
    plan = crawl.plan(nights.root, looks, rules, DAYS[0])
    assert [row.id for row in plan.admission.oversized] == ["ann/ink"]
    assert plan.admission.fetched["huggingface"].files == 2
    assert plan.admission.queued["huggingface"].size == 5000 + 2000


def test_the_same_file_on_two_hubs_is_paid_for_once(nights: Nights) -> None:
    ink = nights.shelf.models["ann/ink"].drafts[0]
    nights.other.put("77", 1, sha256=ink.sha256)
    rules = replace(RULES, budget=BudgetParams(files=1, gb=None, captions=None))
    states = nights.states(0, rules)
    assert (states["ann/ink"], states["77"]) == ("listed", "listed")
    assert list(states.values()).count("queued") == 4


def test_the_queue_of_a_hub_that_is_down_waits(nights: Nights) -> None:
    rules = replace(RULES, budget=BudgetParams(files=1, gb=None, captions=None))
    nights.run(0, rules)
    nights.shelf.down = True
    states = nights.states(1, rules)
    assert states["77"] == "listed" and list(states.values()).count("queued") == 4


def test_new_pictures_of_old_files_are_paid_for_first(nights: Nights) -> None:
    nights.run(0)
    rules = replace(RULES, budget=BudgetParams(files=None, gb=None, captions=3))
    ink = nights.shelf.models["ann/ink"].drafts[0]
    shown = replace(ink.renderings[0], url=ink.url + "2.png", sha256=hash_value("another"))
    nights.shelf.put("ann/ink", 30, sha256=ink.sha256, renderings=(*ink.renderings, shown))
    nights.shelf.put("zoe/new", 31)
    rows = nights.run(1, rules)
    assert (rows["ann/ink"].status, rows["zoe/new"].status) == ("listed", "queued")
    assert nights.states(2, rules)["zoe/new"] == "listed"


def test_a_second_crawl_of_a_day_has_no_second_budget(nights: Nights) -> None:
    rules = replace(RULES, budget=BudgetParams(files=2, gb=None, captions=None))
    first = nights.states(0, rules)
    assert nights.states(0, rules) == nights.states(0, rules) == first
    assert list(nights.states(1, rules).values()).count("listed") == 4


def test_a_second_crawl_of_a_day_keeps_what_the_first_let_in(nights: Nights) -> None:
    rules = replace(RULES, budget=BudgetParams(files=2, gb=None, captions=None))
    first = nights.states(0, rules)
    nights.shelf.put("zoe/hit", 20, downloads=10**6)
    assert nights.states(0, rules) == first | {"zoe/hit": "queued"}
    nights.shelf.down = nights.other.down = True
    nights.shelf.down = False
    assert nights.states(0, rules) == first | {"zoe/hit": "queued"}
    nights.shelf.down, nights.other.down = True, False
    assert nights.states(0, rules) == first | {"zoe/hit": "queued"}


def test_a_crawl_that_is_killed_between_eve_and_catalog_spends_nothing_twice(nights: Nights) -> None:
    rules = replace(RULES, budget=BudgetParams(files=2, gb=None, captions=None))
    first = nights.states(0, rules)
    looks = [nights.look(hub, 0, rules) for hub in (nights.shelf, nights.other)]
    plan = crawl.plan(nights.root, looks, rules, DAYS[0])
    with (
        patch("autolora.catalog.store.write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        crawl.write(nights.root, plan)
    assert nights.states(0, rules) == first


def test_a_catalog_of_somebody_else_is_an_eve_of_its_own(nights: Nights) -> None:
    few = replace(RULES, budget=BudgetParams(files=2, gb=None, captions=None))
    nights.run(0, few)
    rows = [replace(row, status="listed") for row in catalog_store.entries(nights.root)]
    catalog_store.write(nights.root, rows)  # as another branch has it
    assert set(nights.states(0, few).values()) == {"listed"}


def set_back(nights: Nights, key: str, id: str, day: int, had: bool = False) -> None:
    """Note that something could not be had."""
    one = Setback(key=key, hub="huggingface", id=id, name=id, why="hash mismatch", had=had, last=DAYS[day])
    failed_downloads.note(nights.root, [one], {key}, DAYS[day])


def test_a_new_file_that_could_not_be_had_waits_and_is_asked_about_again(nights: Nights) -> None:
    nights.run(0)
    late = nights.shelf.put("zoe/late", 30)
    nights.run(1)
    set_back(nights, late.key, "zoe/late", 1)
    assert nights.states(1)["zoe/late"] == "queued" and not nights.shelf.asked["model"]
    assert nights.states(2)["zoe/late"] == "listed" and nights.shelf.asked["model"] == 1
    set_back(nights, late.key, "zoe/late", 2)
    assert [nights.states(day)["zoe/late"] for day in (2, 3, 4)] == ["queued", "queued", "listed"]


def test_a_new_version_that_could_not_be_had_gives_way_to_the_former(nights: Nights) -> None:
    before = nights.run(0)["ann/ink"]
    version = nights.shelf.put("ann/ink", 30)
    assert nights.run(1)["ann/ink"].key == version.key
    set_back(nights, version.key, "ann/ink", 1)
    after = nights.run(1)["ann/ink"]
    assert after == replace(before, stale_since=DAYS[1])
    assert nights.run(2)["ann/ink"].key == version.key


def test_a_new_picture_that_could_not_be_had_is_left_out(nights: Nights) -> None:
    nights.run(0)
    late = nights.shelf.put("zoe/late", 30)
    nights.run(1)
    set_back(nights, late.renderings[0].key, "zoe/late", 1)
    row = nights.run(1)["zoe/late"]
    assert (row.status, row.renderings) == ("listed", ())
    assert nights.run(2)["zoe/late"].renderings == late.renderings


def test_what_the_pool_has_had_is_never_set_aside(nights: Nights) -> None:
    row = nights.run(0)["ann/ink"]
    set_back(nights, row.key, "ann/ink", 1, had=True)
    set_back(nights, row.renderings[0].key, "ann/ink", 1, had=True)
    assert nights.run(1)["ann/ink"] == row


def test_what_was_listed_for_days_and_never_came_is_set_aside(nights: Nights) -> None:
    nights.run(0)
    late = nights.shelf.put("zoe/late", 30)
    nights.run(1)  # and the night was killed before the pool
    nights.run(2)
    set_back(nights, late.key, "zoe/late", 2)
    assert nights.states(2)["zoe/late"] == "queued"


def test_where_nearly_nothing_can_be_had_nothing_is_set_aside(nights: Nights) -> None:
    before = nights.run(0)
    for row in before.values():
        for key in (row.key, row.renderings[0].key):
            one = Setback(key=key, hub=row.hub, id=row.id, name=row.id, why="answered 500", last=DAYS[1])
            failed_downloads.note(nights.root, [one], {key}, DAYS[1])
    nights.shelf.put("zoe/late", 30)
    assert nights.run(1).keys() == {*before, "zoe/late"}
    assert set(nights.states(1).values()) == {"listed"}


def test_a_dry_look_writes_nothing(nights: Nights) -> None:
    crawl.plan(
        nights.root, [crawl.look(nights.root, nights.shelf, RULES, DAYS[0], remember=False)], RULES, DAYS[0]
    )
    assert not list(nights.root.iterdir())


def test_listings_survive_the_catalog_whatever_they_say(nights: Nights) -> None:
    words = ("a\u2028b\x85c\x1d", "\U0001f408")
    nights.shelf.put("a/b", 9, trigger_words=words)
    assert nights.run(0)["a/b"].trigger_words == words


def test_a_catalog_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="run `dvc repro crawl`"):
        catalog_store.catalog(tmp_path)


@pytest.mark.parametrize(
    "line",
    ['{"hub": "x"}', "<<<<<<< HEAD", "[]", "3", '{"hub": "huggingf', "[" * 100_000, '{"id": "\\ud800"}', "NaN"],
)  # fmt: skip
def test_a_broken_line_is_named(nights: Nights, line: str) -> None:
    nights.run(0)
    path = catalog_store.catalog_path(nights.root)
    lines = path.read_text().split("\n")
    path.write_text("\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(MissingArtifact, match="line 2 is no listing"):
        catalog_store.catalog(nights.root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Listing]]:
    """The entries of a catalog with everything in it."""
    nights = Nights(tmp_path_factory.mktemp("whole"))
    nights.shelf.put(
        "a/b", 9, nsfw=True, nsfw_level="explicit", person=True, minor=False, trigger_words=("x", "é")
    )
    yield list(nights.run(0).values())


@pytest.mark.long(full=20_000, sample=200)
def test_any_damage_to_a_catalog_is_our_error_or_harmless(
    tmp_path: Path, whole: list[Listing], seed: int
) -> None:
    rng = random.Random(seed)
    row = rng.choice(whole).to_row()
    line = damaged_value(row, rng) if rng.random() < 0.7 else damaged_text(json.dumps(row), rng)
    path = catalog_store.catalog_path(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(line)
    try:
        rows = catalog_store.entries(tmp_path)
    except MissingArtifact:
        return
    crawl.plan(tmp_path, [crawl.look(tmp_path, Nights(tmp_path).shelf, RULES, DAYS[1])], RULES, DAYS[1])
    assert [Listing.from_row(json.loads(json.dumps(row.to_row()))) for row in rows] == rows
    assert all(hash_value(row.to_row()) and row.digest and row.key for row in rows)


VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 3, 10**40, 1e308, float("nan"), "", "x", "../../x", "\ud800", "2026-13-01", "2026-01-02", [],
    [None], [1], ["\udfff"], {}, {"x": 1}, [{}], "queued", "withdrawn", "explicit",
)  # fmt: skip


def damaged_value(row: dict[str, Any], rng: random.Random) -> bytes:
    """Return a row's line with a few values put wrong, left out or added, in it or further down."""
    places = [row, row, row["permissions"], *row["renderings"]]
    for _ in range(rng.randint(1, 3)):
        where = rng.choice(places)
        name = rng.choice([*where, "extra"])
        if rng.random() < 0.2:
            where.pop(name, None)
        else:
            alike = [value for value in VALUES if type(value) is type(where.get(name))]
            where[name] = rng.choice(alike if alike and rng.random() < 0.7 else VALUES)
    return json.dumps(row).encode() + b"\n"


def damaged_text(text: str, rng: random.Random) -> bytes:
    """Return a line with bytes replaced, dropped, doubled or cut off."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) or 1)
        match rng.randrange(4):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + rng.randint(1, 40)]
            case 2:
                data[at:at] = data[at : at + rng.randint(1, 40)]
            case _:
                del data[max(1, at) :]
    return bytes(data) + b"\n"
