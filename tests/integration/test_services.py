"""docs/howto/scale.md, "Put the services together": its commands, with real servers on this machine."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autolora.pool import evicted
from playground.repository import IDENTITY, ROOT, Repository, change_params, free_port, kill_tree
from tests.support.postgres import Database, postgres
from tests.support.ray_cluster import OBJECT_STORE_BYTES
from tests.support.s3 import s3_server
from tests.support.waiting import wait_for_server, wait_until

PAGE, SECTION = ROOT / "docs/howto/scale.md", "Put the services together"
STAYS = ("prefect server start", "ray start")
DAY = 2


def commands() -> list[str]:
    """Return the commands of the section, without comments."""
    text = PAGE.read_text().split(f"\n## {SECTION}\n")[1].split("\n## ")[0]
    return [line.partition("  #")[0].strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as database:
        yield database


@pytest.fixture(scope="module")
def given(database: Database, module_folder: Path) -> Iterator[dict[str, str]]:
    """What stands for the names of the page: addresses and keys of a database and an object store that run."""
    with s3_server(module_folder / "s3", "pool") as s3:
        yield {
            "USER:PASSWORD@DATABASE": database.address,
            "BUCKET": "pool",
            "https://S3": s3.endpoint,
            "KEY_ID=ID": f"KEY_ID={s3.access_key}",
            "KEY=SECRET": f"KEY={s3.secret_key}",
            "LONG": "text",
            "4200": str(free_port()),
            "6379": str(free_port()),
            " --block": f" --block --num-cpus 1 --object-store-memory {OBJECT_STORE_BYTES}",
            "--head": "--head --include-dashboard false",
        }


def number_of_nodes(port: str, environment: dict[str, str]) -> int:
    """Return how many nodes the cluster at a port has."""
    script = (
        f"import ray; ray.init('127.0.0.1:{port}', logging_level='ERROR'); print('nodes', len(ray.nodes()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, text=True, capture_output=True, check=True
    )
    return int(done.stdout.split()[-1])


def test_the_services_of_a_large_pool_work_together(
    repository: Repository, database: Database, given: dict[str, str], module_folder: Path
) -> None:
    root, environment = repository.root, repository.environment(DAY) | IDENTITY
    environment |= {
        "HOME": str(module_folder),  # of Ray's token
        "PREFECT_HOME": str(module_folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": str(root),
    }
    changes = {
        "refresh": {"commit": True},
        "operation": {"engine": "ray"},
        "storage": {"keep_local_gb": 1e-6},
    }
    change_params(root / "params.yaml", changes)
    repository.commit("params")
    repository.hub({"day": DAY})
    outputs = {}
    with ExitStack() as running:
        for command in commands():
            command = re.sub("|".join(map(re.escape, given)), lambda match: given[match[0]], command)
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
            elif command.startswith(STAYS):
                process = subprocess.Popen(
                    shlex.split(command), cwd=module_folder, env=environment, stdout=subprocess.DEVNULL
                )
                running.callback(kill_tree, process.pid)
                wait_for_server(int(given["4200" if "prefect" in command else "6379"]))
                if "--address" in command:
                    wait_until(lambda: number_of_nodes(given["6379"], environment) == 2)
            else:
                done = subprocess.run(
                    ["bash", "-c", command], cwd=root, env=environment, text=True, capture_output=True
                )
                assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
                outputs[command] = done.stdout
    assert "in DVC's remote only" in outputs["autolora refresh"]
    assert evicted.evicted_batches(root)
    assert (root / "cache/shards").exists(), "Ray has worked"
    assert {"refresh", "captions"} <= {*database.ask("select name from flow").split()}
