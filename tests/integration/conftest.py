"""Real servers, started once: a Prefect server, and a hub with a small part of the pool."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from tests.support.repository import (
    ROOT,
    TEST_PARAMS,
    Repository,
    change_params,
    copy_tree,
    free_port,
    serve,
    write_schedule,
)

NUM_THEMES, NUM_AUTHORS, NUM_NEW = 6, 2, 5
"""themes of the first day, kinds in turn; LoRAs per theme; new LoRAs on the third day"""


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


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Repository]:
    """A committed repository with the playground, before its first refresh."""
    root = tmp_path_factory.mktemp("repository")
    copy_tree(root)
    write_schedule(root / "playground/pool", small_pool())
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    change_params(root / "params.yaml", TEST_PARAMS | {"hubs": {"huggingface": {"endpoint": endpoint}}})
    command = [sys.executable, "-m", "playground.hub", "--port", str(port), "--day", "1"]
    with serve(command, f"{endpoint}/api/models", root):
        repository = Repository(root, endpoint, prefect_api)
        repository.run("git", "init", "-q")
        repository.commit("the tree")
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
