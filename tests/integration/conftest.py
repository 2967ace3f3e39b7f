"""Real servers, started once: a standing Prefect server, and a hub over a small pool."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.repository import (
    FEWER_STEPS,
    ROOT,
    Repository,
    change_params,
    copy_tree,
    free_port,
    serve,
    write_schedule,
)

NUM_FIRST_DAY, NUM_NEWCOMERS = 11, 5


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A standing Prefect server of the tests' own."""
    home = tmp_path_factory.mktemp("prefect")
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    api = f"http://127.0.0.1:{port}/api"
    with serve(command, f"{api}/health", home, **settings):
        yield api


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Iterator[Repository]:
    """A committed repository with the playground, before its first night."""
    root = tmp_path_factory.mktemp("repository")
    copy_tree(root)
    write_schedule(root / "playground/pool", small_pool())
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    change_params(root / "params.yaml", FEWER_STEPS | {"hubs": {"huggingface": {"endpoint": endpoint}}})
    command = [sys.executable, "-m", "playground.hub", "--port", str(port), "--day", "1"]
    with serve(command, f"{endpoint}/api/models", root):
        repository = Repository(root, endpoint, prefect_api)
        repository.run("git", "init", "-q")
        repository.commit("the tree")
        yield repository


def small_pool() -> dict[int, list[str]]:
    """Choose what the hub holds from which day on: first 11 and a bad file, then 1, then 5, then the rest."""
    schedule = [
        json.loads(line) for line in (ROOT / "playground/pool/schedule.jsonl").read_text().splitlines()
    ]
    good = {entry["repo"] for entry in json.loads((ROOT / "playground/themes.json").read_text()).values()}
    first = [row["repo"] for row in schedule if row["day"] == 1 and row["repo"] in good]
    later = [row["repo"] for row in schedule if row["day"] > 1]
    bad = [row["repo"] for row in schedule if row["repo"] not in good]
    newcomers = 1 + NUM_NEWCOMERS
    return {
        1: first[:NUM_FIRST_DAY] + bad[:1],
        2: later[:1],
        3: later[1:newcomers],
        4: later[newcomers:],
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder as integration tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("integration")
