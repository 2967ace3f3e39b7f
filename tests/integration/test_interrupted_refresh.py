"""Ctrl-C during a refresh: one line, status 130, no process left, and the next refresh completes it."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from autolora.interrupt import GRACE_S, STATUS
from tests.support.repository import Repository

MARGIN_S = 10
WAIT_S = 240


def interrupt_during(repository: Repository, stage: str, log: Path) -> "subprocess.CompletedProcess[str]":
    """Run a refresh, send SIGINT when it runs a stage, as a terminal would, and return the result."""
    with log.open("w+") as stream:
        process = subprocess.Popen(
            ["python", "-m", "flows.refresh"],
            cwd=repository.root,
            env=repository.environment(day=1),
            stdout=stream,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + WAIT_S
        while f"Running stage '{stage}'" not in log.read_text() and process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=GRACE_S + MARGIN_S)
    return subprocess.CompletedProcess([], process.returncode, log.read_text(), errors)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory is a folder."""
    infos = (process.info for process in psutil.process_iter(["cwd", "cmdline"]))
    return [" ".join(info["cmdline"]) for info in infos if info["cwd"] == str(folder)]


@pytest.mark.parametrize("stage", ["crawl", "pool"])
def test_an_interrupted_refresh_leaves_one_line_and_no_process(
    repository: Repository, stage: str, tmp_path: Path
) -> None:
    others = set(processes_in(repository.root))
    done = interrupt_during(repository, stage, tmp_path / "log")
    assert done.returncode == STATUS
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.strip().startswith("interrupted: ")
    assert "Traceback" not in done.stdout
    assert not [line for line in processes_in(repository.root) if "flows" in line or "dvc" in line.split()]
    assert set(processes_in(repository.root)) <= others
    repository.run("dvc", "status", "-q", check=False)  # its locks are free: it ends


def test_the_next_refresh_completes_it(repository: Repository) -> None:
    assert "Served index: " in repository.refresh(day=1)
