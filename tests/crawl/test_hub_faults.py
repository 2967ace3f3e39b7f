"""The fault matrix: faults of the playground's hub, on each of its three hubs, through crawl and pool.

Each cell is three nights. The first is undisturbed. On the second two adapters are new and the hub misbehaves: once,
or whenever it is asked. On the third it has been healed, and all must be as though nothing had ever happened.
A second hub, a folder, is never disturbed. Nothing but autolora.errors may come out, and soon.
"""

import datetime
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.errors import HubError
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import FolderParams, HubParams, HubsParams
from autolora.pool import store as pool
from autolora.pool.ingest import Intake, batches
from autolora.pool.stage import Stock
from autolora.records import ACCEPTED, Listing
from autolora.storage.files import hash_file
from playground.hub import Hub, running
from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS
from tests.lora.writing import draw_lora, peft, write
from tests.support.tiny_pool import RULES, TERMS, make_pool

T = TypeVar("T")

DAYS = [datetime.date(2026, 1, 5 + night) for night in range(3)]
TIMEOUT_S, SOON_S, MOST_TRIES = 0.7, 12.0, 3
PLACES = {
    "listing": dict.fromkeys(HUBS, "listing"),
    "details": {"huggingface": "tree", "civitai": "images", "modelscope": "tree"},
    "weights": dict.fromkeys(HUBS, "weights"),
    "link": {"huggingface": "weights", "civitai": "download", "modelscope": "weights"},
    "renderings": dict.fromkeys(HUBS, "renderings"),
}
"""what is asked for -> hub -> the kind of request; a link is what leads to the weights"""
NEWCOMER, PAGE_SIZE = "bob/late", 4
FIRST_PAGE = {"bob/cat", "eve/pickle", "bob/late", "cat/later"}
WAITS = {"429-retry-after": 2.0, "503-retry-after": 2.0, "429-ratelimit": 3.0}
"""fault -> seconds that it asks to wait"""

ARRIVED = "arrived"
"""retried where that was needed; all is as though nothing had happened"""
STALE = "hub stale"
"""yesterday's entries, each with stale_since; the pool keeps them"""
CUT = "list cut"
"""what the list showed arrived; what it did not show is stale"""
UNSEEN = "unseen"
"""entries that the list did not show are kept, or not there yet"""
ENTRY = "entry problem"
"""the one entry is not there yet"""
PARTIAL = "entry without pictures or prompts"
"""arrived, and lacks what could not be asked about"""
ASIDE = "set aside"
"""it could not be had: HubError names it, the next crawl sets it aside, and the rest arrived"""
ALL_ASIDE = "all set aside"
"""what the hub lists are other files than those that it has: yesterday's stay, stale, what is new waits"""

ONCE, ALWAYS = 1, 10**6
LISTED_ANEW = (
    "429 429-retry-after 429-retry-date 429-ratelimit 500 502 503 503-retry-after reset reset-midway"
)
UNREADABLE = "cut-body length-short length-long empty-body html truncated-json deep-json huge-number not-utf8"
FINAL = "401 403 404 410 gzip-bomb huge-page"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    fault: str
    place: str
    times: int
    outcomes: Mapping[str, str]
    """by hub"""
    options: Mapping[str, Any] = field(default_factory=dict)
    """of the order"""

    @property
    def id(self) -> str:
        """Its name among the tests."""
        place = "second page" if self.options.get("after") else self.place
        return f"{place}-{self.fault}-{'once' if self.times == ONCE else 'always'}"


def cases(
    faults: str, place: str, times: int, outcome: str | Mapping[str, str], **options: Any
) -> list[Case]:
    """Return a line for each of some faults that end alike."""
    outcomes = dict.fromkeys(HUBS, outcome) if isinstance(outcome, str) else outcome
    return [Case(fault, place, times, outcomes, options) for fault in faults.split()]


def by_hub(civitai: str, huggingface: str, modelscope: str) -> Mapping[str, str]:
    """Name an outcome for each hub."""
    return {"civitai": civitai, "huggingface": huggingface, "modelscope": modelscope}


LATE = {"path": NEWCOMER}
SMALL = {"mb": 20}
TABLE = [
    *cases(f"{LISTED_ANEW} {UNREADABLE} {FINAL}", "listing", ONCE, ARRIVED, **SMALL),
    *cases("drip hang gzip redirect-loop", "listing", ONCE, ARRIVED),
    *cases("429-retry-after 500 503 reset reset-midway hang", "listing", ALWAYS, STALE),
    *cases(f"{UNREADABLE} {FINAL} redirect-loop", "listing", ALWAYS, STALE, **SMALL),
    *cases("500 410 truncated-json", "listing", ALWAYS, CUT, after=1),
    *cases("missing-fields null-fields wrong-types", "listing", ALWAYS, ENTRY, entry=NEWCOMER),
    *cases("duplicate-ids hostile-text future-dates gzip", "listing", ALWAYS, ARRIVED),
    *cases("hostile-urls", "listing", ALWAYS, by_hub(STALE, PARTIAL, ARRIVED)),
    *cases("dates-1970 empty-list", "listing", ALWAYS, STALE),
    *cases("hostile-names", "listing", ALWAYS, by_hub(STALE, UNSEEN, ARRIVED)),
    *cases("truncated-files", "listing", ALWAYS, by_hub(UNSEEN, UNSEEN, ARRIVED)),
    *cases("endless-pages", "listing", ALWAYS, CUT),
    *cases("empty-page", "listing", ONCE, by_hub(UNSEEN, UNSEEN, STALE)),
    *cases("empty-page", "listing", ONCE, UNSEEN, after=1),
    *cases("moving-entry", "listing", ONCE, UNSEEN),
    *cases("wrong-hash", "listing", ALWAYS, by_hub(ALL_ASIDE, ARRIVED, ARRIVED)),
    *cases("wrong-size", "listing", ALWAYS, ARRIVED),
    *cases("500 429 reset html truncated-json cut-body", "details", ONCE, ARRIVED, **LATE),
    *cases("500 503 html truncated-json", "details", ALWAYS, ENTRY, **LATE),
    *cases("401 403 404 410", "details", ALWAYS, by_hub(PARTIAL, ENTRY, ENTRY), **LATE),
    *cases("truncated-files", "details", ALWAYS, by_hub(ARRIVED, ENTRY, ENTRY), **LATE),
    *cases("hostile-names", "details", ALWAYS, by_hub(ARRIVED, ENTRY, ENTRY), **LATE),
    *cases("missing-fields null-fields wrong-types", "details", ALWAYS, PARTIAL, **LATE),
    *cases("wrong-hash", "details", ALWAYS, by_hub(ARRIVED, ASIDE, ASIDE), **LATE),
    *cases("wrong-size", "details", ALWAYS, ARRIVED, **LATE),
    *cases("429 500 503-retry-after reset reset-midway cut-body hang", "weights", ONCE, ARRIVED, **LATE),
    *cases("length-short length-long wrong-bytes empty-body", "weights", ONCE, ARRIVED, **LATE),
    *cases("hostile-filename ignored-range", "weights", ALWAYS, ARRIVED, **LATE),
    *cases("404 500 reset-midway cut-body drip gzip", "weights", ALWAYS, ASIDE, **LATE),
    *cases("length-short length-long", "weights", ALWAYS, ASIDE, **LATE),
    *cases("wrong-bytes empty-body lying-range wrong-range", "weights", ALWAYS, ASIDE, **LATE),
    *cases("gzip-bomb", "weights", ALWAYS, ASIDE, mb=20, **LATE),
    *cases("gated expired-url redirect-private redirect-elsewhere", "link", ONCE, ARRIVED, **LATE),
    *cases("gated expired-url redirect-loop redirect-private", "link", ALWAYS, ASIDE, **LATE),
    *cases("redirect-metadata redirect-elsewhere redirect-file 401 403 410", "link", ALWAYS, ASIDE, **LATE),
    *cases("429 500 reset cut-body", "renderings", ONCE, ARRIVED, **LATE),
    *cases("404 500 cut-body redirect-private", "renderings", ALWAYS, ASIDE, **LATE),
    *cases("wrong-bytes empty-body", "renderings", ALWAYS, ASIDE, **LATE),
]
CELLS = {f"{hub}-{case.id}": (hub, case) for case in TABLE for hub in case.outcomes}
FIRST = {id for fault in FAULTS for id in [id for id in CELLS if CELLS[id][1].fault == fault][: len(HUBS)]}
"""the cells of each fault that `make test` runs"""
REST = sorted(CELLS.keys() - FIRST)


@dataclass(frozen=True, slots=True)
class Night:
    """What a night left behind, and what it said."""

    rows: Mapping[str, Listing]
    """repository -> the hub's entry"""
    folder: int
    """entries of the hub that is never disturbed"""
    adapters: Mapping[str, tuple[str, str]]
    """repository -> sha256 and verdict"""
    pictures: Mapping[str, int]
    """repository -> pictures in the pool"""
    prompts: Mapping[str, int]
    """repository -> prompts in the catalog"""
    down: bool
    problems: str
    set_back: str
    """what the stage `pool` ended with at first; empty where it ended well"""
    failure: str
    """what it ended with at last"""
    set_aside: Collection[str]
    """names of what could not be had and was set aside"""


class Site:
    """A hub that may be disturbed, one that is not, and a repository's root."""

    def __init__(self, name: str, hub: Hub, endpoint: str, folder: Path) -> None:
        self.name, self.hub, self.root, self.shelf = name, hub, folder / "root", folder / "shelf"
        self.rules = replace(RULES, hubs=(name, "folder"))
        self.waits: list[float] = []
        self.repos = {
            str(hub.numbers.model(repo)) if name == "civitai" else id: id for id, repo in hub.repos.items()
        }
        at = {
            "huggingface": endpoint,
            "civitai": f"{endpoint}/civitai",
            "modelscope": f"{endpoint}/modelscope",
        }
        self.params = HubsParams(
            **{hub: HubParams(endpoint=at[hub]) for hub in HUBS},
            folder=FolderParams(path=str(self.shelf)),
            timeout_s=TIMEOUT_S, attempts=2, downloads=1, requests_per_s=1e6, max_mb_per_s=None, min_kb_per_s=1,
        )  # fmt: skip

    def clients(self) -> dict[str, Client]:
        """Return both hubs' clients; the one over the network notes how long it would wait, and does not."""
        disturbed: Any = open_hub(self.name, self.params, {})
        patient = replace(disturbed, source=replace(disturbed.source, sleep=self.waits.append))
        return {self.name: patient, "folder": open_hub("folder", self.params, {})}

    def night(self, number: int) -> Night:
        """Let a night's news appear, and run the stages `crawl` and `pool` as their flows do."""
        self.hub.change({"day": min(number + 1, 2)})
        self.shelf.mkdir(exist_ok=True)
        if not (place := self.shelf / f"{number}.safetensors").exists():
            write(place, peft(draw_lora(100 + number)))
        plan = self.list_all(DAYS[number])
        failures = [self.fill(DAYS[number])]
        while failures[-1] and len(failures) < MOST_TRIES:
            plan = self.list_all(DAYS[number])
            failures.append(self.fill(DAYS[number]))
        return self.read(plan, failures)

    def list_all(self, day: datetime.date) -> crawl.Plan:
        looks = []
        for name, client in self.clients().items():
            try:
                looks.append(twice(partial(crawl.look, self.root, client, self.rules, day)))
            except HubError as error:
                looks.append(crawl.miss(self.root, name, error, day))
        plan = crawl.plan(self.root, looks, self.rules, day)
        crawl.write(self.root, plan)
        return plan

    def fill(self, day: datetime.date) -> str:
        """Run the stage `pool`, and return what it ended with."""
        stock = Stock(self.root, TERMS)
        intake = Intake(self.root, self.clients(), TERMS, self.rules.max_file_mb)
        failures = fetch(intake.fetch_adapters, stock.missing_adapters())
        stock.compare_newcomers()
        failures += fetch(intake.fetch_renderings, stock.missing_renderings())
        try:
            stock.finish(day, failures)
        except HubError as error:
            return str(error)
        return ""

    def read(self, plan: crawl.Plan, failures: Sequence[str]) -> Night:
        entries = catalog.entries(self.root)
        rows = {self.repos[row.id]: row for row in entries if row.hub == self.name}
        adapters, shown = pool.adapters(self.root), pool.renderings(self.root)
        (look,) = (look for look in plan.looks if look.hub == self.name)
        return Night(
            rows=rows,
            folder=sum(row.hub == "folder" and row.key in adapters for row in entries),
            adapters={
                id: (adapters[row.key].sha256, adapters[row.key].verdict)
                for id, row in rows.items()
                if row.key in adapters
            },
            pictures={id: sum(one.key in shown for one in row.renderings) for id, row in rows.items()},
            prompts={id: sum(one.prompt is not None for one in row.renderings) for id, row in rows.items()},
            down=look.down,
            problems=" | ".join(look.problems),
            set_back=failures[0],
            failure=failures[-1],
            set_aside={one.name for one in plan.set_aside},
        )

    def truth(self) -> set[str]:
        """Return the sha256 of every LoRA file that there is."""
        blobs = (blob for repo in self.hub.repos.values() for blob in repo.head.blobs.values())
        return {blob.sha256 for blob in blobs} | {hash_file(path) for path in self.shelf.iterdir()}


def fetch(fetcher: Callable[[Any], int], wanted: Sequence[Any]) -> list[BaseException]:
    """Fetch every batch, twice where that fails, and return what went wrong."""
    failures: list[BaseException] = []
    for batch in batches(wanted, 2):
        try:
            twice(partial(fetcher, batch))
        except HubError as error:
            failures.append(error)
    return failures


def twice(call: Callable[[], T]) -> T:
    """Call, and call again where that fails, as the flows' tasks do."""
    try:
        return call()
    except HubError:
        return call()


@pytest.fixture(scope="module")
def shared_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small repositories."""
    return make_pool(tmp_path_factory.mktemp("hub") / "pool")


def open_site(hub: str, pool: Path, folder: Path) -> Iterator[Site]:
    served = Hub(pool, day=1, page_size=PAGE_SIZE)
    with running(served) as endpoint:
        yield Site(hub, served, endpoint, folder)


@pytest.fixture(scope="module")
def undisturbed(shared_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Night]]:
    """Three quiet nights of every hub."""
    nights = {}
    for hub in HUBS:
        for site in open_site(hub, shared_pool, tmp_path_factory.mktemp(hub)):
            nights[hub] = [site.night(number) for number in range(len(DAYS))]
            check_consistent(site, nights[hub][-1])
    return nights


def test_the_matrix_is_large_enough() -> None:
    assert len({case.fault for case in TABLE}) >= 25
    assert {case.fault for case in TABLE} <= FAULTS.keys()


@pytest.mark.parametrize("cell", [pytest.param(id, id=id.replace(" ", "-")) for id in CELLS if id in FIRST])
def test_a_fault(cell: str, shared_pool: Path, undisturbed: dict[str, list[Night]], tmp_path: Path) -> None:
    live_through(*CELLS[cell], shared_pool, undisturbed, tmp_path)


@pytest.mark.long(full=len(REST), sample=3)
def test_the_rest_of_the_matrix(
    shared_pool: Path, undisturbed: dict[str, list[Night]], tmp_path: Path, seed: int
) -> None:
    live_through(*CELLS[REST[seed]], shared_pool, undisturbed, tmp_path)


def live_through(
    hub: str, case: Case, shared_pool: Path, undisturbed: dict[str, list[Night]], folder: Path
) -> None:
    """Go through the three nights of a cell."""
    for site in open_site(hub, shared_pool, folder):
        before = site.night(0)
        assert outline(before) == outline(undisturbed[hub][0])
        order = {"fault": case.fault, "hub": hub, "kind": PLACES[case.place][hub], "times": case.times}
        site.hub.change({"fail": {**order, **case.options}})
        started = time.monotonic()
        during = site.night(1)
        assert time.monotonic() - started < SOON_S
        assert case.fault not in WAITS or WAITS[case.fault] in site.waits
        check_consistent(site, during)
        check_outcome(case.outcomes[hub], during, before, undisturbed[hub][1])
        assert site.hub._orders[0].times < case.times  # the fault was met
        site.hub.change({"heal": True})
        after = site.night(2)
        check_consistent(site, after)
        assert outline(after) == outline(undisturbed[hub][2])
        assert (after.pictures, after.prompts) == (undisturbed[hub][2].pictures, undisturbed[hub][2].prompts)


def outline(night: Night) -> tuple[object, ...]:
    """Return what has to be the same however a night was reached."""
    states = {id: (row.status, row.stale_since, row.withdrawn) for id, row in night.rows.items()}
    return states, night.adapters, night.folder, night.down, night.failure


def check_consistent(site: Site, night: Night) -> None:
    """Check that nothing is half done, nothing is left lying about, and nothing is accepted that is not true."""
    lines = catalog.catalog_path(site.root).read_text().splitlines()
    assert len(lines) == len(catalog.entries(site.root)) and all(line.isprintable() for line in lines)
    accepted = {row.sha256 for row in pool.adapters(site.root).values() if row.verdict == ACCEPTED}
    assert accepted <= site.truth()
    weights = {path for path in (pool.folder(site.root) / "weights").rglob("*") if path.is_file()}
    assert weights == {pool.weights_path(site.root, sha256) for sha256 in accepted}
    assert all(hash_file(path) == path.stem for path in weights)
    assert not [path for path in site.root.rglob(".*") if path.is_file()]
    if not night.failure:
        assert not pool.incoming(site.root).exists()
    if not (night.down or night.problems):
        assert not list((site.root / "cache").rglob("crawl/*.jsonl"))


def check_outcome(outcome: str, night: Night, before: Night, quiet: Night) -> None:
    """Check that a night ended as the table says, and that what was not disturbed arrived."""
    assert night.folder == quiet.folder
    spared = quiet.rows.keys() - {NEWCOMER}
    match outcome:
        case "arrived":
            assert outline(night) == outline(quiet) and night.pictures == quiet.pictures
        case "hub stale":
            assert night.rows == {id: replace(row, stale_since=DAYS[1]) for id, row in before.rows.items()}
            assert night.adapters == before.adapters and not night.failure
            assert night.down or night.problems
        case "list cut":
            stale = {id for id, row in night.rows.items() if row.stale_since == DAYS[1]}
            assert stale == quiet.rows.keys() - FIRST_PAGE
            assert night.adapters == quiet.adapters and not night.failure
        case "unseen":
            assert (
                before.rows.keys() <= night.rows.keys() and before.adapters.items() <= night.adapters.items()
            )
            assert not any(row.status == "withdrawn" for row in night.rows.values()) and not night.failure
        case "entry problem":
            assert night.rows.keys() == spared == night.adapters.keys() and not night.failure
            assert not any(row.stale_since for row in night.rows.values())
        case "entry without pictures or prompts":
            assert outline(night) == outline(quiet)
        case "set aside":
            assert "not in the pool, but in the catalog" in night.set_back and not night.failure
            assert night.set_aside and all(name in night.set_back for name in night.set_aside)
            assert night.rows.keys() == quiet.rows.keys()
            waits = night.rows[NEWCOMER].status == "queued"
            assert waits or not night.pictures[NEWCOMER]
            arrived = spared if waits else quiet.rows.keys()
            assert night.adapters == {id: quiet.adapters[id] for id in arrived}
        case "all set aside":
            assert "not in the pool, but in the catalog" in night.set_back and not night.failure
            assert night.rows.keys() == quiet.rows.keys() and night.adapters == before.adapters
            assert all(row.stale_since or row.status == "queued" for row in night.rows.values())
        case _:
            raise AssertionError(outcome)
