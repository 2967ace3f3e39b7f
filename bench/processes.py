"""Run a command as a process of its own, and measure its time and the memory of its largest process."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.timing import timed

PROJECT = Path(__file__).parents[1]
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""a small process that runs a command: right after a fork, a child's peak includes the memory of its parent"""
SERVER_START_S = 120
Row = dict[str, float]
"""seconds, cpu_seconds, megabytes"""


def run_measured(root: Path, *command: str) -> Row:
    """Run a command; return its seconds, its CPU seconds, and the memory of its largest process (10^6 bytes)."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "PYTHONPATH": str(PROJECT), "DVC_NO_ANALYTICS": "1"}
    seconds, process = timed(
        lambda: subprocess.run(
            [sys.executable, "-c", MEASURED, *command],
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stdout}\n{process.stderr}")
    print(f"{' '.join(command)}: {seconds:.1f} s\n{stage_lines(process.stdout)}", file=sys.stderr, flush=True)
    *_, cpu_seconds, kilobytes = process.stdout.split()
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),
        "megabytes": round(int(kilobytes) * 1024 / 1e6),
    }


def stage_lines(output: str) -> str:
    """Return the lines in which the stages report their own time."""
    return "\n".join(f"  {line}" for line in output.splitlines() if line.startswith("["))


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Run a Prefect server until the block ends, as for scheduled refreshes; yield the URL of its API.

    home: folder of its database. Raises RuntimeError if the server ends or does not answer within two minutes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    settings = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        env=os.environ | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_healthy(process, f"{api}/health")
        yield api
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + SERVER_START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the Prefect server does not answer at {url}; its exit status is {process.poll()}")


def log_time(step: str, work: Callable[[], object]) -> None:
    """Do a step that is not part of the result, and log how long it takes."""
    print(f"{step}: {timed(work)[0]:.1f} s", file=sys.stderr, flush=True)
