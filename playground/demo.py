"""Command `make demo`: run the pipeline on the playground for two days, then search, and generate an image.

It starts the playground's hub and a Prefect server, and stops both at the end.
"""

import json
import os
import re
import secrets
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from autolora.interrupt import exit_on_interrupt
from autolora.params import load

ROOT = Path(__file__).parents[1]
DATES = {1: date(2026, 1, 5), 2: date(2026, 1, 6)}
PROMPT = "a duck in the snow"
STAGE_LINE = re.compile(r"^stage=(?!refresh )(\w+) .*\bseconds=([\d.]+) ")
WAIT_S = 120
console = Console()


@dataclass
class Clock:
    """Durations of the demo's steps and of the pipeline's stages."""

    steps: list[tuple[str, float]] = field(default_factory=list)
    """name, seconds"""
    stages: list[tuple[str, float]] = field(default_factory=list)
    """name, seconds"""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure the duration of one step of the demo."""
        console.rule(f"[bold]{name}")
        started = time.perf_counter()
        yield
        self.steps.append((name, time.perf_counter() - started))


def main() -> None:
    """Run the demo; exit with the code of the first command that fails."""
    endpoint = load(ROOT / "params.yaml").hubs.huggingface.endpoint
    clock = Clock()
    with ExitStack() as stack:
        with clock.step("hub and Prefect server"):
            stack.enter_context(hub(endpoint))
            api = stack.enter_context(prefect_server())
        with clock.step(f"refresh of day 1, {DATES[1]}: all stages"):
            if (ROOT / "data" / "catalog").exists():
                console.print(
                    "The repository contains the state after day 2. On day 1 the hub has fewer adapters, so this "
                    "refresh withdraws some, and the next one activates them again."
                )
            refresh(1, api, clock)
        with clock.step(f"refresh of day 2, {DATES[2]}: new adapters"):
            post(f"{endpoint}/_playground", {"day": 2})
            refresh(2, api, clock)
        with clock.step("search"):
            execute([sys.executable, "-m", "autolora", "search", PROMPT])
        with clock.step("generate"):
            execute([sys.executable, "-m", "autolora", "generate", PROMPT, "-o", "images/demo.png"])
    summarize(clock)


@contextmanager
def hub(endpoint: str) -> Iterator[None]:
    """Serve the playground's pool as of day 1 while the block runs."""
    port = urlsplit(endpoint).port
    assert port is not None
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            sys.exit(
                f"port {port} is in use: stop the process that listens on it, "
                "or change hubs.huggingface.endpoint in params.yaml"
            )
    with server(
        [sys.executable, "-m", "playground.hub", "--port", str(port), "--day", "1"],
        f"{endpoint}/api/models",
        {},
    ):
        yield


@contextmanager
def prefect_server() -> Iterator[str]:
    """Run a separate Prefect server while the block runs; yield the URL of its API."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with server(command, f"{api}/health", prefect_environment()):
        yield api


@contextmanager
def server(command: list[str], health: str, environment: dict[str, str]) -> Iterator[None]:
    """Run a server while the block runs, which starts as soon as the URL `health` responds."""
    log = ROOT / "cache" / f"{command[2].removeprefix('playground.')}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # Ctrl-C must not end it before the refresh, which reports to it
        )
        try:
            wait_for(health, process, log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `url` responds; exit with the path of the server's log if it does not within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    sys.exit(f"{url} does not respond; see the server's log {log}")


def refresh(day: int, api: str, clock: Clock) -> None:
    """Run `autolora refresh` as of that day, and collect the times that its stages print."""
    midnight = datetime.combine(DATES[day], datetime.min.time(), UTC)
    environment = prefect_environment() | {
        "PREFECT_API_URL": api,
        "SOURCE_DATE_EPOCH": str(int(midnight.timestamp())),
    }
    for line in execute([sys.executable, "-m", "autolora", "refresh"], environment):
        if match := STAGE_LINE.search(line):
            clock.stages.append((match[1], float(match[2])))


def execute(command: list[str], environment: dict[str, str] | None = None) -> list[str]:
    """Run a command, print its output, and return its lines; exit with its code if it fails."""
    console.print(f"$ python {shlex.join(command[1:])}", style="bold cyan", highlight=False, markup=False)
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | (environment or {}), text=True, stdout=subprocess.PIPE, bufsize=1
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line)
    except SystemExit:  # Ctrl-C, which the command has received too
        process.wait(WAIT_S)
        raise
    if code := process.wait():
        sys.exit(code)
    return lines


def post(url: str, body: dict[str, object]) -> None:
    """Send an order to the playground's hub."""
    data = json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(url, data=data, method="POST"), timeout=10).close()


@cache
def prefect_environment() -> dict[str, str]:
    """Return the environment that separates the demo's Prefect from the user's, and from all who lack its password."""
    password = f"demo:{secrets.token_hex(16)}"
    return {
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
        "PREFECT_HOME": str(ROOT / "cache" / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def summarize(clock: Clock) -> None:
    """Print the durations, and the paths of the report and the image."""
    table = Table("step", "seconds", title="time")
    for name, seconds in clock.steps:
        table.add_row(name, f"{seconds:.1f}")
    console.print(table)
    stages = [seconds for name, seconds in clock.stages if name != "refresh"]
    console.print(f"{len(stages)} stage runs took {sum(stages):.1f} s")
    console.print(
        f"report   {ROOT / 'reports' / 'index.html'}\nimage    {ROOT / 'images' / 'demo.png'}", soft_wrap=True
    )


if __name__ == "__main__":
    exit_on_interrupt("interrupted: `make demo` starts again, and downloads and captions nothing twice")
    main()
