"""Reading in several processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.local.own_folder import FILES, REPOSITORY, copy, index
from tests.support.waiting import LIMIT_S, wait_until

pytestmark = pytest.mark.slow

STOPPED = """
import os, signal, sys, time
from datetime import date
from multiprocessing import active_children
from pathlib import Path
from threading import Timer
from autolora import interrupt
from autolora.local import reading
from autolora.local.indexing import index_folder
from autolora.params import load

read_all = reading._read_all

def killed(*arguments):
    for row in read_all(*arguments):
        print(*(process.pid for process in active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

def interrupted(*arguments):
    Timer(0.5, os.killpg, (0, signal.SIGINT)).start()
    reading._start_worker, interrupt.GRACE_S = start_forever, 3600  # nothing but the interruption ends them
    yield from read_all(*arguments)

def start_forever():
    time.sleep(3600)

if __name__ == "__main__":
    interrupt.exit_on_interrupt("interrupted")
    reading._read_all, reading.FILES_PER_PROCESS, os.cpu_count = globals()[sys.argv[1]], 1, lambda: 2
    index_folder(Path.cwd(), load(Path("params.yaml")), date(2026, 3, 1))
"""
"""indexes the project in the working directory with two processes; is killed or interrupted while they work or start"""


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and whose parent has not noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return a script that does not end by itself."""
    path = tmp_path / "stopped.py"
    path.write_text(STOPPED)
    return path


def run(script: Path, how: str, root: Path) -> "subprocess.CompletedProcess[str]":
    """Run the script in a session of its own. how: `killed` or `interrupted`."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(script), how]
    return subprocess.run(
        command,
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=LIMIT_S,
    )


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_killed_run_leaves_no_process_and_is_continued(root: Path, folder: Path, script: Path) -> None:
    for number in range(8):
        path = copy(list(FILES)[number % 3], folder / f"copy{number}.safetensors")
        with path.open("ab") as stream:
            stream.write(b"\0" * (number + 1))  # another file, which is refused
    process = run(script, "killed", root)
    assert process.returncode == -signal.SIGKILL, process.stderr
    workers = list(map(int, process.stdout.split()))
    assert len(workers) == 2
    wait_until(lambda: not any(map(is_running, workers)))  # they do not outlive the one that started them
    assert len(index(root).verdicts["accepted"]) == 3


def test_an_interruption_while_processes_start_prints_one_line(root: Path, script: Path) -> None:
    process = run(script, "interrupted", root)
    assert (process.returncode, process.stderr) == (130, "\ninterrupted\n")
    assert len(index(root).verdicts["accepted"]) == 3
