"""The fault table, run through crawl and pool: each fault of the playground's hub on each of its three hubs.

Each cell takes three days. The first has no faults, so all cells of a hub continue copies of one. On the second, two
adapters are new and the hub fails once or always. On the third the fault is gone, and the state must be as if there had
been none. A second hub, a folder, never fails. Only the exceptions of autolora.errors may be raised, within seconds.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.pool import store as pool
from autolora.pool.batches import open_folder, present_files
from autolora.records import ACCEPTED
from autolora.storage.hashes import hash_file
from playground.hubs.faults import FAULTS
from playground.hubs.repos import HUBS
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.pool.fault_table import (
    CELLS,
    FIRST_CELLS,
    FIRST_PAGE,
    NEW_REPO,
    OTHER_CELLS,
    PAGE_SIZE,
    RETRY_AFTER_S,
    TABLE,
    TARGETS,
    Case,
    Outcome,
)
from tests.pool.faulty_site import DAYS, DayResult, FaultySite
from tests.support.tiny_pool import make_pool

pytestmark = pytest.mark.slow

MAX_DAY_S = 120.0
"""a day takes two seconds; one that waits for each delay that a hub asks for would never end"""
POOL_ERROR = "of the catalog are missing from the pool"


@dataclass(frozen=True)
class WithoutFaults:
    """A running hub, the folder of a site after the first day, and the results of three days without faults."""

    hub: Hub
    endpoint: str
    first_day: Path
    days: list[DayResult]


@pytest.fixture(scope="module")
def without_faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WithoutFaults]]:
    """Each hub by its name, with six small repositories."""
    folder = tmp_path_factory.mktemp("hub")
    pool, sites = make_pool(folder / "pool"), {}
    with ExitStack() as stack:
        for name in HUBS:
            served = Hub(pool, day=1, page_size=PAGE_SIZE)
            endpoint = stack.enter_context(running(served))
            (folder / name).mkdir()
            site = FaultySite(name, served, endpoint, folder / name)
            days = [site.run_day(0)]
            shutil.copytree(folder / name, folder / f"{name}-first")
            days += [site.run_day(number) for number in range(1, len(DAYS))]
            check_consistent(site, days[-1])
            sites[name] = WithoutFaults(served, endpoint, folder / f"{name}-first", days)
        yield sites


def test_the_table_has_at_least_25_known_faults() -> None:
    assert len({case.fault for case in TABLE}) >= 25
    assert {case.fault for case in TABLE} <= FAULTS.keys()


@pytest.mark.parametrize(
    "cell", [pytest.param(id, id=id.replace(" ", "-")) for id in CELLS if id in FIRST_CELLS]
)
def test_first_cells_of_each_fault(
    cell: str, without_faults: dict[str, WithoutFaults], tmp_path: Path
) -> None:
    run_cell(*CELLS[cell], without_faults, tmp_path / "site")


@pytest.mark.long(full=len(OTHER_CELLS), sample=3)
def test_other_cells(without_faults: dict[str, WithoutFaults], tmp_path: Path, seed: int) -> None:
    run_cell(*CELLS[OTHER_CELLS[seed]], without_faults, tmp_path / str(seed))


def run_cell(hub: str, case: Case, without_faults: dict[str, WithoutFaults], folder: Path) -> None:
    """Run the second and third day of a cell, and check them."""
    healthy = without_faults[hub]
    first, second, third = healthy.days
    shutil.copytree(healthy.first_day, folder)
    site = FaultySite(hub, healthy.hub, healthy.endpoint, folder)
    injection = {
        "fault": case.fault,
        "hub": hub,
        "kind": TARGETS[case.target][hub],
        "times": case.times,
        **case.options,
    }
    site.hub.change({"heal": True, "fail": injection})
    started = time.monotonic()
    during = site.run_day(1)
    assert time.monotonic() - started < MAX_DAY_S
    assert case.fault not in RETRY_AFTER_S or RETRY_AFTER_S[case.fault] in site.delays_s
    check_consistent(site, during)
    check_outcome(case.outcomes[hub], during, first, second)
    assert site.hub._injections[0].times < case.times, "the fault was triggered"
    site.hub.change({"heal": True})
    after = site.run_day(2)
    check_consistent(site, after)
    assert after.summary == third.summary
    assert (after.images, after.prompts) == (third.images, third.prompts)


def check_consistent(site: FaultySite, day: DayResult) -> None:
    """Check that only published files are accepted and that no partial or temporary files remain."""
    lines = [line for path in catalog.catalog_files(site.root) for line in path.read_text().splitlines()]
    assert len(lines) == len(catalog.read_all(site.root)) and all(line.isprintable() for line in lines)
    accepted = {row.sha256 for row in pool.adapters(site.root).values() if row.verdict == ACCEPTED}
    assert accepted <= site.published_sha256()
    stored = present_files(site.root, "weights")
    assert accepted <= stored <= site.published_sha256()
    assert all(hash_file(pool.weights_path(site.root, sha256)) == sha256 for sha256 in stored)
    assert not [path for path in site.root.rglob(".*") if path.is_file()]
    if not day.last_error:
        assert not pool.incoming(site.root).exists() and not open_folder(site.root).exists()


def check_outcome(outcome: Outcome, day: DayResult, before: DayResult, expected: DayResult) -> None:
    """Check the day with the fault against the table; `expected` is the same day without the fault."""
    assert day.num_folder_adapters == expected.num_folder_adapters
    repos = expected.listings.keys()
    match outcome:
        case Outcome.ARRIVED:
            assert day.summary == expected.summary and day.images == expected.images
        case Outcome.HUB_STALE:
            stale = {id: replace(row, stale_since=DAYS[1]) for id, row in before.listings.items()}
            assert day.listings == stale
            assert day.adapters == before.adapters and not day.last_error
            assert day.is_down or day.problems
        case Outcome.UNREAD_PAGES_STALE:
            stale_repos = {id for id, row in day.listings.items() if row.stale_since == DAYS[1]}
            assert stale_repos == repos - FIRST_PAGE
            assert day.adapters == expected.adapters and not day.last_error
        case Outcome.UNSEEN:
            assert before.listings.keys() <= day.listings.keys()
            assert before.adapters.items() <= day.adapters.items()
            assert not any(row.status == "withdrawn" for row in day.listings.values()) and not day.last_error
        case Outcome.NEW_REPO_MISSING:
            assert day.listings.keys() == repos - {NEW_REPO} == day.adapters.keys() and not day.last_error
            assert not any(row.stale_since for row in day.listings.values())
        case Outcome.METADATA_MISSING:
            assert day.summary == expected.summary
        case Outcome.DEFERRED:
            assert POOL_ERROR in day.first_error and not day.last_error
            assert day.deferred and all(name in day.first_error for name in day.deferred)
            assert day.listings.keys() == repos
            is_queued = day.listings[NEW_REPO].status == "queued"
            assert is_queued or not day.images[NEW_REPO]
            arrived = repos - {NEW_REPO} if is_queued else repos
            assert day.adapters == {id: expected.adapters[id] for id in arrived}
        case Outcome.ALL_DEFERRED:
            assert POOL_ERROR in day.first_error and not day.last_error
            assert day.listings.keys() == repos and day.adapters == before.adapters
            assert all(row.stale_since or row.status == "queued" for row in day.listings.values())
        case _:
            raise AssertionError(outcome)
