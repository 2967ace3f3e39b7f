"""Real servers, started once, and a first refresh, run once: each module continues from a copy of its repository."""

import fcntl
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from playground.repository import (
    ROOT,
    TEST_PARAMS,
    Repository,
    change_params,
    copy_folder,
    copy_tree,
    free_port,
    serve,
    with_hub,
    write_schedule,
)

NUM_THEMES, NUM_AUTHORS, NUM_NEW = 6, 2, 5
"""themes of the first day, kinds in turn; LoRAs per theme; new LoRAs on the third day"""
TRACER = Path(__file__).parents[1] / "support" / "tracer"


@dataclass(frozen=True)
class FirstDay:
    """A folder with a repository after its first refresh, which no test changes."""

    folder: Path

    @property
    def root(self) -> Path:
        """The repository."""
        return self.folder / "repository"

    @property
    def traces(self) -> Path:
        """The folder in which each stage has written what it read (tests/support/tracer)."""
        return self.folder / "traces"

    @property
    def duration(self) -> Path:
        """The file with the seconds that the refresh took; it exists once the repository is complete."""
        return self.folder / "seconds"


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server for all tests; its API URL."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    api = f"http://127.0.0.1:{port}/api"
    with serve(command, f"{api}/health", home, **settings):
        yield api


@pytest.fixture(scope="session")
def first_day(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> FirstDay:
    """A first refresh, run by the first worker that needs it; the others wait for its end."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    day = FirstDay(folder / "first-day")
    day.folder.mkdir(exist_ok=True)
    with (day.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not day.duration.exists():
            shutil.rmtree(day.root, ignore_errors=True)
            run_first_day(day, prefect_api)
    return day


def run_first_day(day: FirstDay, api: str) -> None:
    """Run the whole pipeline from an empty repository; the images of one adapter cannot be downloaded."""
    copy_tree(day.root)
    days = small_pool()
    write_schedule(day.root / "playground/pool", days)
    change_params(day.root / "params.yaml", TEST_PARAMS)
    day.traces.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, (str(TRACER), os.environ.get("PYTHONPATH"))))
    with with_hub(day.root, api) as repository:
        repository.run("git", "init", "-q")
        repository.commit("the tree")
        failing = {"kind": "renderings", "path": days[1][0], "status": 404, "times": 10**6}
        repository.hub({"fail": failing})
        started = time.monotonic()
        repository.run("python", "-m", "flows.refresh", AUTOLORA_TRACE=str(day.traces), PYTHONPATH=path)
        seconds = time.monotonic() - started
        repository.commit("first refresh")
    day.duration.write_text(str(seconds))


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is removed after the module: repositories with their data are hundreds of megabytes."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def repository(first_day: FirstDay, module_folder: Path, prefect_api: str) -> Iterator[Repository]:
    """A committed repository after its first refresh, and its hub, which is at another address than it was then."""
    root = module_folder / "repository"
    copy_folder(first_day.root, root)
    with with_hub(root, prefect_api) as repository:
        repository.commit("the hub's address")
        yield repository


def small_pool() -> dict[int, list[str]]:
    """Return day -> repositories that the hub lists from that day on, for a playground of any size.

    A few themes and all bad files on the first day, then one LoRA, then five, then one more per day.
    """
    lines = (ROOT / "playground/pool/schedule.jsonl").read_text().splitlines()
    days = {row["repo"]: row["day"] for row in map(json.loads, lines)}
    kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    good = json.loads((ROOT / "playground/themes.json").read_text()).values()
    for entry in good:
        if days[entry["repo"]] == 1:
            kinds[entry["kind"]][entry["theme"]].append(entry["repo"])
    in_turn = chain.from_iterable(zip_longest(*(themes.values() for themes in kinds.values())))
    themes = [repos[:NUM_AUTHORS] for repos in in_turn if repos and len(repos) >= NUM_AUTHORS][:NUM_THEMES]
    first = list(chain.from_iterable(themes))
    repos = [entry["repo"] for entry in good if entry["repo"] not in first]
    later = sorted(repos, key=lambda repo: -days[repo])
    bad = sorted(days.keys() - {entry["repo"] for entry in good})
    third = 1 + NUM_NEW
    daily = {day: [repo] for day, repo in enumerate(later[third:], 4)}
    return {1: first + bad, 2: later[:1], 3: later[1:third], **daily}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder as integration tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")
