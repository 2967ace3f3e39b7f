"""A repository for a run of the whole pipeline: this tree's files, a small pool, a hub, fewer training steps."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import yaml

from autolora.catalog import store as catalog
from autolora.pool import batches
from autolora.storage.hashes import hash_file

ROOT = Path(__file__).parents[1]
TEST_PARAMS = {
    "models": {"threads": 1},
    "crawl": {"max_renderings": 2},
    "drawings": {"per_day": 0},
    "fusion": {"steps": 6, "batch": 4},
    "generation": {"steps": 4},
    "experiments": {"pairs": 1, "images": 1},
}
"""fewer steps and images than in params.yaml, and one thread, since `make test` runs two tests at a time"""
LIMIT_S = 120.0
"""of waiting for an answer, far more than any takes on a slow and busy machine"""
PORTS = range(20_000, 32_768)
"""below the ports that Linux assigns to outgoing connections"""
BUILT = ("data", "digests", "metrics", "dvc.lock", "reports")
IDENTITY = {
    "GIT_AUTHOR_NAME": "t",
    "GIT_AUTHOR_EMAIL": "t@t",
    "GIT_COMMITTER_NAME": "t",
    "GIT_COMMITTER_EMAIL": "t@t",
}
"""environment variables; git refuses to commit without them"""
CODE_DIGESTS = "digests/code/"
"""written by `make deps`, not by a stage"""


@dataclass
class Repository:
    """A git and DVC repository with the playground in it, and the hub it crawls."""

    root: Path
    endpoint: str
    api: str
    """URL of the standing Prefect server"""
    programs: Path = Path(sys.executable).parent
    """folder of the `python` and `dvc` that `run` starts"""

    def run(
        self, *command: str, day: int = 1, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with `programs` first on the path, as on 2026-01-05 (day 1) or later."""
        variables = self.environment(day) | environment
        variables["PATH"] = f"{self.programs}{os.pathsep}{variables['PATH']}"
        done = subprocess.run(command, cwd=self.root, env=variables, text=True, capture_output=True)
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def start(self, *command: str, day: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command with this Python, without waiting for its end; its output is dropped."""
        environment = self.environment(day) | environment
        return subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def environment(self, day: int) -> dict[str, str]:
        """Return the environment of a command of this Python, as on 2026-01-05 (day 1) or later."""
        midnight = datetime(2026, 1, 4, tzinfo=UTC) + timedelta(days=day)
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_API_URL": self.api,
            "SOURCE_DATE_EPOCH": str(int(midnight.timestamp())),
            "DVC_NO_ANALYTICS": "1",
        }

    def refresh(self, day: int) -> str:
        """Run the refresh of that day and return its output."""
        return self.run("python", "-m", "flows.refresh", day=day).stdout

    def committed_refresh(self, day: int) -> str:
        """Run the refresh of that day, which commits if params.yaml says so, and return its output."""
        return self.run("python", "-m", "flows.refresh", day=day, check=True, **IDENTITY).stdout

    def search(self, prompt: str, *options: str) -> list[dict[str, Any]]:
        """Search from the command line and return the hits."""
        hits: list[dict[str, Any]] = json.loads(
            self.run("python", "-m", "autolora", "search", prompt, "--json", *options).stdout
        )
        return hits

    def commit(self, message: str) -> str:
        """Commit everything and return the commit."""
        self.run("git", "add", "-A")
        self.run(
            "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", message
        )
        return self.run("git", "rev-parse", "HEAD").stdout.strip()

    def digests(self) -> dict[str, str]:
        """Return stage -> sha256 of its digest."""
        return {
            path.stem: json.loads(path.read_text())["sha256"]
            for path in (self.root / "digests").glob("*.json")
        }

    def index_content(self) -> str:
        """Return the content digest of the index, which names what a search reads."""
        return str(json.loads((self.root / "digests/index.json").read_text())["content"])

    def listing(self) -> list[dict[str, Any]]:
        """Return the catalog's rows, without tombstones."""
        listings = catalog.read_all(self.root)
        return [listing.to_row() for listing in listings if listing.status != "withdrawn"]

    def pool_files(self) -> dict[str, str]:
        """Return path -> sha256 of each file in a batch of the pool."""
        folder = batches.batches_folder(self.root)
        paths = [path for path in folder.glob("*/*/*") if path.is_file()]
        return {str(path.relative_to(folder)): hash_file(path) for path in paths}

    def files(self) -> dict[str, int | bytes]:
        """Return the modification time (ns) of every file outside caches and git.

        A forced stage makes DVC write dvc.lock again, so for that file the content counts.
        """
        skip = (".git", ".dvc", "cache", "__pycache__")
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        visible = [
            path for path in paths if not any(part in skip for part in path.relative_to(self.root).parts)
        ]
        stamps: dict[str, int | bytes] = {
            str(path.relative_to(self.root)): path.stat().st_mtime_ns for path in visible
        }
        lock = self.root / "dvc.lock"
        return stamps | ({"dvc.lock": lock.read_bytes()} if lock.exists() else {})

    def hub(self, change: dict[str, Any]) -> None:
        """Send the hub a change of its repositories or its behavior."""
        data = json.dumps(change).encode()
        urllib.request.urlopen(
            urllib.request.Request(f"{self.endpoint}/_playground", data=data), timeout=LIMIT_S
        ).close()

    def requests(self) -> dict[str, Any]:
        """Return the hub's request counts since the last call."""
        with urllib.request.urlopen(f"{self.endpoint}/_playground/requests", timeout=LIMIT_S) as answer:
            counts: dict[str, Any] = json.load(answer)
        self.hub({"reset": True})
        return counts


@contextlib.contextmanager
def serve(
    command: list[str], health: str, cwd: Path, *, patience_s: int = 600, **environment: str
) -> Iterator[None]:
    """Run a server until the block ends; wait until `health` answers."""
    process = subprocess.Popen(
        command, cwd=cwd, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(health, process, patience_s)
        yield
    finally:
        process.terminate()
        process.wait(timeout=LIMIT_S)


@contextlib.contextmanager
def with_hub(root: Path, api: str, port: int | None = None) -> "Iterator[Repository]":
    """Serve the playground of a repository as of day 1, at an address that is written to its params.yaml."""
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    change_params(root / "params.yaml", {"hubs": {"huggingface": {"endpoint": endpoint}}})
    command = [sys.executable, "-m", "playground.hub", "--port", str(port), "--day", "1"]
    with serve(command, f"{endpoint}/api/models", root):
        yield Repository(root, endpoint, api)


def wait_for(health: str, process: subprocess.Popen[Any], patience_s: int) -> None:
    """Wait until a server that was just started answers."""
    for _ in range(5 * patience_s):
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        try:
            urllib.request.urlopen(health, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{health} does not answer")


def kill_tree(pid: int) -> None:
    """Send SIGKILL to a process and its descendants, each of which is stopped before, so that none starts another."""
    root = psutil.Process(pid)
    stopped: list[psutil.Process] = []
    while running := [child for child in [root, *root.children(recursive=True)] if child not in stopped]:
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        stopped += running
    for process in stopped:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def free_port() -> int:
    """Return an unused port that Linux never assigns to a client."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"no port of {PORTS} is free")


def copy_tree(target: Path, outputs: bool = False) -> None:
    """Copy this tree's files (tracked, and new ones that git does not ignore); `outputs`: also those of stages."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        is_output = name.split("/")[0] in BUILT and not name.startswith(CODE_DIGESTS)
        if (is_output and not outputs) or not (ROOT / name).is_file():
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with its times and with the hard links inside it, as DVC's cache has them."""
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def change_params(path: Path, changes: dict[str, dict[str, Any]]) -> None:
    """Change values of a params.yaml in place."""
    content = yaml.safe_load(path.read_text())
    for section, values in changes.items():
        content[section].update(values)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def write_schedule(pool: Path, days: dict[int, list[str]]) -> None:
    """Make the hub list these repositories only, from these days on."""
    known = {row["repo"]: row for row in map(json.loads, (pool / "schedule.jsonl").read_text().splitlines())}
    rows = [known[repo] | {"day": day} for day, repos in days.items() for repo in repos]
    (pool / "schedule.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
