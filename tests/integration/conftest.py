"""Real servers, started once, and a first refresh, run once: each module continues from a copy of its repository."""

import fcntl
import json
import os
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
from tests.support.warm import warm_programs

NUM_THEMES, NUM_AUTHORS, NUM_NEW = 6, 2, 5
"""themes of the first day, kinds in turn; LoRAs per theme; new LoRAs on the third day"""
SECONDS = "seconds"
"""file of a folder that is complete, with the seconds that it took"""


@dataclass(frozen=True)
class FirstDay:
    """A folder with a repository after its first refresh, which no test changes."""

    folder: Path

    @property
    def root(self) -> Path:
        """The repository."""
        return self.folder / "repository"

    @property
    def seconds(self) -> float:
        """How long the refresh took."""
        return float((self.folder / SECONDS).read_text())


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
def warm() -> Iterator[Path]:
    """Programs that start warm processes (tests/support/warm.py), for all refreshes after a first one."""
    with warm_programs() as programs:
        yield programs


@pytest.fixture(scope="session")
def first_day(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> FirstDay:
    """A first refresh, by real processes."""
    return FirstDay(build_once(tmp_path_factory, "first-day", partial(run_first_day, api=prefect_api)))


@pytest.fixture(scope="session")
def two_releases(
    tmp_path_factory: pytest.TempPathFactory, first_day: FirstDay, prefect_api: str, warm: Path
) -> Path:
    """A folder with a project after two refreshes, which no test changes (`run_two_releases`)."""
    run = partial(run_two_releases, first=first_day.root, api=prefect_api, programs=warm)
    return build_once(tmp_path_factory, "two-releases", run)


def build_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """Return a folder that the first worker that needs it builds; the others wait until it has its file `seconds`."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder := folder / name).mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / SECONDS).exists():
            shutil.rmtree(folder / "repository", ignore_errors=True)
            build(folder)
    return folder


def run_first_day(folder: Path, api: str, **environment: str) -> None:
    """Run the whole pipeline from an empty repository; the images of one adapter cannot be downloaded."""
    root, days = folder / "repository", small_pool()
    copy_tree(root)
    write_schedule(root / "playground/pool", days)
    change_params(root / "params.yaml", TEST_PARAMS)
    with with_hub(root, api) as repository:
        repository.run("git", "init", "-q")
        repository.commit("the tree")
        failing = {"kind": "renderings", "path": days[1][0], "status": 404, "times": 10**6}
        repository.hub({"fail": failing})
        started = time.monotonic()
        repository.run("python", "-m", "flows.refresh", **environment)
        seconds = time.monotonic() - started
        repository.commit("first refresh")
    (folder / SECONDS).write_text(str(seconds))


def run_two_releases(folder: Path, first: Path, api: str, programs: Path) -> None:
    """Release the first day, then the second, in a copy that pushes to a DVC remote and a git repository beside it.

    Writes the output of the refreshes to night-1.log and night-2.log. Clones lie in the same folder: the remote's
    address is relative.
    """
    for name in ("repository", "store", "origin"):
        shutil.rmtree(folder / name, ignore_errors=True)
    root, started = folder / "repository", time.monotonic()
    copy_folder(first, root)
    change_params(root / "params.yaml", {"refresh": {"commit": True}})
    with with_hub(root, api) as repository:
        repository.programs = programs
        repository.run("dvc", "remote", "add", "-d", "store", "../store")
        repository.commit("params")
        repository.run("git", "init", "-q", "--bare", "../origin")
        repository.run("git", "remote", "add", "origin", "../origin")
        repository.run("git", "push", "-q", "--set-upstream", "origin", "HEAD")
        for day in (1, 2):
            repository.hub({"day": day})
            (folder / f"night-{day}.log").write_text(repository.committed_refresh(day))
    (folder / SECONDS).write_text(str(time.monotonic() - started))


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is removed after the module: repositories with their data are hundreds of megabytes."""
    folder = tmp_path_factory.mktemp("module")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def repository(
    first_day: FirstDay, module_folder: Path, prefect_api: str, warm: Path
) -> Iterator[Repository]:
    """A committed repository after its first refresh, and its hub, which is at another address than it was then."""
    root = module_folder / "repository"
    copy_folder(first_day.root, root)
    with with_hub(root, prefect_api) as repository:
        repository.programs = warm
        repository.commit("the hub's address")
        yield repository


@pytest.fixture(scope="module")
def project(two_releases: Path, module_folder: Path, prefect_api: str, warm: Path) -> Iterator[Repository]:
    """A copy of the project with two releases, and its hub on the second day, at another address than before."""
    with copied_project(two_releases, module_folder, prefect_api, warm) as project:
        yield project


@contextmanager
def copied_project(
    two_releases: Path, folder: Path, api: str, programs: Path, port: int | None = None
) -> Iterator[Repository]:
    """Copy the project with two releases into a folder, and serve its hub on the second day while the block runs."""
    copy_folder(two_releases, folder / "releases")
    with with_hub(folder / "releases/repository", api, port) as project:
        project.programs = programs
        project.commit("the hub's address")
        project.hub({"day": 2})
        yield project


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
