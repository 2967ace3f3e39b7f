"""Ctrl-C during a refresh: one line, status 130, no process left, and the next refresh completes it."""

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from autolora.interrupt import STATUS
from playground.repository import Repository
from tests.integration.conftest import NUM_NEW
from tests.support.waiting import LIMIT_S, wait_until

WAIT_S, DAY = 900, 3
"""patience with a stage; the day, on which the hub lists files that are not in the pool"""


def interrupt_during(repository: Repository, stage: str, log: Path) -> "subprocess.CompletedProcess[str]":
    """Run a refresh, send SIGINT when it runs a stage, as a terminal would, and return the result."""
    with log.open("w+") as stream:
        process = subprocess.Popen(
            ["python", "-m", "autolora", "refresh"],
            cwd=repository.root,
            env=repository.environment(DAY),
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        wait_until(
            lambda: f"Running stage '{stage}'" in log.read_text() or process.poll() is not None, WAIT_S
        )
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT_S)
    return subprocess.CompletedProcess([], process.returncode, log.read_text(), errors)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory is a folder."""
    infos = (process.info for process in psutil.process_iter(["cwd", "cmdline"]))
    return [" ".join(info["cmdline"] or ()) for info in infos if info["cwd"] == str(folder)]


@pytest.mark.parametrize("stage", ["crawl", "pool"])
def test_an_interrupted_refresh_leaves_one_line_and_no_process(
    repository: Repository, stage: str, tmp_path: Path
) -> None:
    repository.hub({"day": DAY})
    others = set(processes_in(repository.root))
    done = interrupt_during(repository, stage, tmp_path / "log")
    assert done.returncode == STATUS
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.strip().startswith("interrupted: ")
    assert "Traceback" not in done.stdout
    wait_until(lambda: set(processes_in(repository.root)) <= others)
    repository.run("dvc", "status", "-q", check=False)  # its locks are free: it ends
    status = repository.run("python", "-m", "autolora", "status", check=False)
    assert status.returncode == 1 and "did not finish" in status.stdout


def test_the_next_refresh_completes_it(repository: Repository) -> None:
    output = repository.refresh(DAY)
    assert "Served index: " in output and f"{NUM_NEW + 1} new files: {NUM_NEW + 1} accepted" in output
    assert "succeeded" in repository.run("python", "-m", "autolora", "status").stdout
