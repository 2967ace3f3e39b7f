"""What a crawl tells in the terminal: news once, and in words."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.catalog.failed_downloads import Setback, note
from autolora.crawl import stage as crawl
from autolora.crawl.budget import Cost
from autolora.params import BudgetParams, CrawlParams
from flows.crawl import drawn, news, tabulate
from tests.support.fake_hub import MIDNIGHT, Shelf
from tests.support.tiny_pool import RULES as ONE_HUB

RULES = replace(ONE_HUB, hubs=("huggingface", "civitai"), max_nsfw_level="explicit")
DAY = MIDNIGHT.date()


@pytest.fixture
def hubs() -> list[Shelf]:
    """Two hubs with two models each."""
    shelves = [Shelf("huggingface"), Shelf("civitai")]
    for shelf in shelves:
        for hour, id in enumerate(("ann/ink", "bob/cat")):
            shelf.put(id, hour)
    return shelves


def tell(root: Path, hubs: Sequence[Shelf], rules: CrawlParams, day: int = 0) -> list[str]:
    """Crawl, write the catalog, and return what is told."""
    before, today = catalog.known(root), DAY + datetime.timedelta(days=day)
    plan = crawl.plan(root, [crawl.look(root, hub, rules, today) for hub in hubs], rules, today)
    crawl.write(root, plan)
    return news(plan, before, rules.hubs)


def test_what_was_withdrawn_is_told_once(tmp_path: Path, hubs: list[Shelf]) -> None:
    assert tell(tmp_path, hubs, RULES) == []
    del hubs[0].models["ann/ink"]
    assert tell(tmp_path, hubs, RULES, day=1) == ["withdrawn: huggingface:ann/ink/lora.safetensors"]
    assert tell(tmp_path, hubs, RULES, day=1) == []


def test_a_hub_that_is_asked_no_more_takes_its_entries_along_with_a_word(
    tmp_path: Path, hubs: list[Shelf]
) -> None:
    tell(tmp_path, hubs, RULES)
    told = ["hub civitai is not in crawl.hubs any more: 2 entries leave the catalog"]
    assert tell(tmp_path, hubs[:1], replace(RULES, hubs=("huggingface",))) == told
    assert tell(tmp_path, hubs[:1], replace(RULES, hubs=("huggingface",))) == []


def test_what_waits_is_counted_and_what_no_night_could_take_is_named(
    tmp_path: Path, hubs: list[Shelf]
) -> None:
    hubs[0].put("eve/huge", 5, size=900_000)
    rules = replace(RULES, budget=BudgetParams(files=3, gb=5e-4, captions=None))
    assert tell(tmp_path, hubs, rules) == [
        "queued for a later night: 2 files, 0.0009 GB",
        "larger than a night's whole budget: huggingface:eve/huge/lora.safetensors",
    ]


def test_what_a_hub_did_not_give_is_named_with_the_day_on_which_it_is_asked_again(
    tmp_path: Path, hubs: list[Shelf]
) -> None:
    new = hubs[0].put("eve/gone", 5)
    why = "hub huggingface: answered 404"
    lost = Setback(key=new.key, hub=new.hub, id=new.id, name="eve/gone/lora.safetensors", why=why, last=DAY)
    note(tmp_path, [lost], {new.key}, DAY)
    assert tell(tmp_path, hubs, RULES) == [
        "set aside until 2026-01-02, its hub did not give it: huggingface:eve/gone/lora.safetensors (answered 404)",
        "queued for a later night: 1 file, 0.0000 GB",
    ]


def test_the_table_shows_what_the_pool_lacks(tmp_path: Path, hubs: list[Shelf]) -> None:
    looks = [crawl.look(tmp_path, hub, RULES, DAY, remember=False) for hub in hubs]
    plan = crawl.plan(tmp_path, looks, RULES, DAY)
    fetched = {"civitai": Cost(files=7, size=20_000_000, renderings=4)}
    lines = drawn(tabulate(plan, [], fetched, RULES.hubs)).splitlines()
    rows = {cells[1].strip(): cells for line in lines if len(cells := line.split("│")) > 1}
    assert [cell.strip() for cell in rows["civitai"][2:6]] == ["7", "0.0200", "4", "12"]
    assert [cell.strip() for cell in rows["huggingface"][2:6]] == ["0", "0.0000", "0", "0"]
