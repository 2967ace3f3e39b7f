"""Hubs that answer 404 to much or everything for days, over real sockets: nothing is withdrawn, and all comes back."""

import datetime
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.errors import HubError
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import CrawlParams
from autolora.refresh.crawl_summary import problem_lines
from playground.hubs.crawl_requests import local_hubs
from playground.hubs.repos import HUBS
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.tiny_pool import RULES, make_pool, make_repo

pytestmark = pytest.mark.slow

FIRST = datetime.date(2026, 1, 5)
FOREVER = 10**6
NUM_REPOS = 18


def day_of(number: int) -> datetime.date:
    return FIRST + datetime.timedelta(days=number)


@dataclass(frozen=True, slots=True)
class Site:
    """One hub of the playground with 18 models, and a root that crawls it."""

    hub: Hub
    client: Client
    root: Path
    rules: CrawlParams

    def crawl(self, day: int, **rules: int) -> CatalogPlan:
        """Crawl on a day, and write the catalog."""
        today, values = day_of(day), replace(self.rules, **rules)
        try:
            scan = crawl.scan_hub(self.root, self.client, values, today)
        except HubError as error:
            scan = crawl.keep_stale(self.root, self.client.name, values, error)
        other = replace(scan, hub="other", listings=(), problems=(), is_down=False)  # else no hub were up
        plan = crawl.reconcile(self.root, [scan, other], values, today)
        crawl.write(self.root, plan)
        return plan

    def answer_404(self, kind: str | None = None) -> None:
        """Answer 404 from now on to requests of this kind, or to all."""
        self.hub.change({"fail": {"fault": "404", "hub": self.client.name, "times": FOREVER, "kind": kind}})

    def lose(self, numbers: range) -> None:
        """Neither list these models nor show their pages, as a hub that has lost them."""
        for number in numbers:
            self.hub.change({"withdraw": [sorted(self.hub.repos)[number], "404"]})

    def recover(self) -> None:
        """Show everything again."""
        self.hub.change({"heal": True})
        self.hub._withdrawals.clear()

    def states(self) -> dict[str, datetime.date | None]:
        """Return id -> the day since which an active listing is stale."""
        return {row.id: row.stale_since for row in catalog.read_all(self.root) if row.is_active}


@pytest.fixture(params=HUBS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    pool = make_pool(tmp_path / "pool")
    for number in range(NUM_REPOS - 6):
        make_repo(pool / f"more/{number:02}", 100 + number)
        day = {"day": 1, "created_at": f"2026-01-01T00:{number:02}:00.000Z", "downloads": 7}
        with (pool / "schedule.jsonl").open("a") as stream:
            stream.write(json.dumps({"repo": f"more/{number:02}"} | day) + "\n")
    hub = Hub(pool, day=2)
    with running(hub) as endpoint:
        client = open_hub(request.param, local_hubs(endpoint), {})
        site = Site(hub, client, tmp_path / "root", replace(RULES, hubs=(request.param,)))
        site.crawl(0)
        assert len(site.states()) == NUM_REPOS
        yield site


@pytest.mark.parametrize("kind", [None, "listing"])
def test_a_hub_that_answers_404_to_everything_keeps_its_listings(site: Site, kind: str | None) -> None:
    site.answer_404(kind)
    for day in (1, 2, 3):
        (line,) = problem_lines(site.crawl(day))
        assert line.startswith(f"hub {site.client.name} was not scanned, its listings are stale: ")
        assert set(site.states().values()) == {day_of(1)} and len(site.states()) == NUM_REPOS
    site.recover()
    assert not problem_lines(site.crawl(4))
    assert [*site.states().values()] == [None] * NUM_REPOS


@pytest.mark.parametrize("number", [NUM_REPOS // 2, NUM_REPOS - 1])
def test_a_hub_that_loses_many_models_for_days_keeps_their_listings(site: Site, number: int) -> None:
    site.lose(range(number))
    for day in (1, 2, 3):
        (line,) = problem_lines(site.crawl(day))
        assert f"{number} of {NUM_REPOS} known models are absent ({number} not found" in line
        assert sum(since == day_of(1) for since in site.states().values()) == number
    site.recover()
    assert not problem_lines(site.crawl(4))
    assert [*site.states().values()] == [None] * NUM_REPOS


def test_a_hub_that_loses_some_more_models_each_night_keeps_most_listings(site: Site) -> None:
    """Each night is below the share that a night may withdraw, but not the nights together."""
    left = []
    for day in range(1, 6):
        site.lose(range(3 * day))
        problems = problem_lines(site.crawl(day))
        left.append(len(site.states()))
    assert left == [NUM_REPOS - 3] * 5
    assert "and 3 were withdrawn in the 7 days before" in problems[0]
    site.recover()
    assert not problem_lines(site.crawl(6))
    assert [*site.states().values()] == [None] * NUM_REPOS


def test_new_versions_whose_pages_are_not_found_come_with_the_next_full_scan(site: Site) -> None:
    before = {row.id: row.version for row in catalog.read_all(site.root)}
    for kind in ("info", "tree", "images"):
        site.answer_404(kind)
    for repo in sorted(site.hub.repos)[: NUM_REPOS // 2]:
        site.hub.change({"touch": repo})
    for day in (1, 2, 3):
        site.crawl(day, full_scan_every_days=1 if day == 3 else 100)
        assert len(site.states()) == NUM_REPOS
    site.recover()
    site.crawl(4)
    assert [*site.states().values()] == [None] * NUM_REPOS
    changed = sum(row.version != before[row.id] for row in catalog.read_all(site.root))
    assert changed == (0 if site.client.name == "civitai" else NUM_REPOS // 2)
