"""Reading in several processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autolora.local.project import PARAMS_FILE
from tests.local.own_folder import FILES, REPOSITORY, copy, index

KILLED = """
import os, signal
from datetime import date
from multiprocessing import active_children
from pathlib import Path
from autolora.local import reading
from autolora.local.indexing import index_folder
from autolora.params import load

def kill(step, done, total):
    if (step, done) == ("files read", 1):
        print(*(process.pid for process in active_children()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    reading.FILES_PER_PROCESS, os.cpu_count = 1, lambda: 2
    index_folder(Path.cwd(), load(Path("params.yaml")), date(2026, 3, 1), kill)
"""
"""indexes the project in the working directory with two processes, and is killed while they work"""
END_S = 10


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and whose parent has not noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc")
def test_a_killed_run_leaves_no_process_and_is_continued(root: Path, folder: Path, tmp_path: Path) -> None:
    for number in range(8):
        copy(list(FILES)[number % 3], folder / f"copy{number}.safetensors")
        with (folder / f"copy{number}.safetensors").open("ab") as stream:
            stream.write(b"\0" * (number + 1))  # another file, which is refused
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run(
        [sys.executable, script], cwd=root, env=environment, capture_output=True, text=True
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    workers = list(map(int, process.stdout.split()))
    assert len(workers) == 2
    deadline = time.monotonic() + END_S
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "the processes outlive the one that started them"
        time.sleep(0.1)
    assert (root / PARAMS_FILE).exists() and len(index(root).verdicts["accepted"]) == 3
