"""Ctrl-C: real processes get SIGINT, and end with status 130, one line, no traceback, and nothing half-written."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autolora.interrupt import STATUS
from tests.support.waiting import LIMIT_S

ROOT = Path(__file__).parents[1]
RUN = "from autolora.interrupt import exit_on_interrupt; exit_on_interrupt('interrupted'); "
WAIT = "[time.sleep(0.1) for _ in range(600)]"
"""one long sleep would not notice a signal that comes between its check for signals and its beginning"""


def start(command: list[str], folder: Path) -> "subprocess.Popen[str]":
    """Start a process of this code; it prints `ready` when Ctrl-C may come."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def interrupt(process: "subprocess.Popen[str]", after_s: float = 0.0) -> tuple[str, str]:
    """Send SIGINT after some seconds, and return what the process prints until it ends."""
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=LIMIT_S)


def start_python(code: str, folder: Path) -> "subprocess.Popen[str]":
    """Start Python code that handles Ctrl-C, and wait until it prints a line."""
    process = start([sys.executable, "-c", RUN + code], folder)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    "code",
    [
        f"import time; print('ready'); {WAIT}",
        "import asyncio; asyncio.run((lambda: (print('ready'), asyncio.sleep(60))[1])())",
        "import threading, time; print('ready'); threading.Thread(target=time.sleep, args=[60], daemon=True).start(); "
        f"{WAIT}",
    ],
)
def test_a_process_ends_with_one_line_and_status_130(code: str, tmp_path: Path) -> None:
    process = start_python(code, tmp_path)
    _, errors = interrupt(process)
    assert (process.returncode, errors) == (STATUS, "\ninterrupted\n")


@pytest.mark.slow
def test_a_main_thread_that_does_not_notice_the_signal_is_woken(tmp_path: Path) -> None:
    code = (
        "import signal, threading, time\n"
        "other = threading.Thread(target=time.sleep, args=[60], daemon=True); other.start()\n"
        "send = lambda: signal.pthread_kill(other.ident, signal.SIGINT)\n"
        "threading.Timer(0.5, send).start(); print('ready'); threading.Event().wait()"
    )
    process = start_python(code, tmp_path)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (STATUS, "\ninterrupted\n")


def test_blocks_are_left_as_after_an_error(tmp_path: Path) -> None:
    code = (
        "import time, pathlib\n"
        "import autolora.storage.files as files\n"
        f"files.sync_and_rename = lambda *arguments: (print('ready'), {WAIT})\n"
        "files.write_atomic(pathlib.Path('table.json'), 'content')\n"
    )
    process = start_python(code, tmp_path)
    interrupt(process)
    assert process.returncode == STATUS and list(tmp_path.iterdir()) == []


def test_a_second_ctrl_c_does_not_wait_for_the_end(tmp_path: Path) -> None:
    code = f"import time\ntry:\n    print('ready'); {WAIT}\nfinally:\n    print('cleaning up'); {WAIT}\n"
    process = start_python(code, tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.stdout and process.stdout.readline() == "cleaning up\n"
    interrupt(process)
    assert process.returncode == STATUS


def test_ctrl_c_while_the_process_prints_an_error(tmp_path: Path) -> None:
    code = (
        "import io, os, signal, sys, time\n"
        "class Interrupting(io.FileIO):\n"
        "    def write(self, data):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return super().write(data)\n"
        "sys.stderr = io.TextIOWrapper(io.BufferedWriter(Interrupting(2, 'wb', closefd=False)))\n"
        f"print('ready'); sys.stderr.write('progress'); sys.stderr.flush(); {WAIT}\n"
    )
    process = start_python(code, tmp_path)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, errors) == (STATUS, "\ninterrupted\n")


def test_an_error_of_a_library_does_not_change_the_status(tmp_path: Path) -> None:
    code = (
        "import time\nfrom autolora.interrupt import raise_if_interrupted\n"
        f"def library():\n  try:\n    print('ready'); {WAIT}\n  except SystemExit:\n    raise OSError('closed')\n"
        "try:\n  library()\nfinally:\n  raise_if_interrupted()"
    )
    process = start_python(code, tmp_path)
    _, errors = interrupt(process)
    assert (process.returncode, errors) == (STATUS, "\ninterrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    "before", ["", "import sys, types; sys.modules['psutil'] = types.ModuleType('psutil')\n"]
)
def test_threads_that_do_not_end_are_abandoned(before: str, tmp_path: Path) -> None:
    """before: nothing, or what leaves psutil in the middle of its import."""
    code = (
        before + "import autolora.interrupt, threading, time\n"
        "autolora.interrupt.GRACE_S = 0.5\n"
        f"threading.Thread(target=time.sleep, args=[{10 * LIMIT_S}]).start(); print('ready'); " + WAIT
    )
    process = start_python(code, tmp_path)
    interrupt(process)
    assert process.returncode == STATUS


@pytest.mark.slow
def test_an_import_that_hangs_does_not_keep_an_abandoned_process(tmp_path: Path) -> None:
    code = (
        "import autolora.interrupt, sys, threading, time\n"
        "autolora.interrupt.GRACE_S = autolora.interrupt.CHILDREN_S = 0.5\n"
        "class Hanging:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'psutil': threading.Event().wait()\n"
        "sys.meta_path.insert(0, Hanging())\n"
        f"try: print('ready'); {WAIT}\n"
        "except SystemExit: threading.Event().wait()\n"
    )
    process = start_python(code, tmp_path)
    interrupt(process)
    assert process.returncode == STATUS


def test_a_slow_import_can_be_interrupted(tmp_path: Path) -> None:
    process = start_python("print('ready'); import torch, transformers, time; " + WAIT, tmp_path)
    _, errors = interrupt(process, after_s=0.3)
    assert (process.returncode, errors) == (STATUS, "\ninterrupted\n")


@pytest.mark.slow
def test_ctrl_c_during_an_import_waits_for_its_end(tmp_path: Path) -> None:
    """torch calls C++ code while it is imported; if Python raises there, it goes on or aborts the process."""
    code = (
        "import autolora.interrupt, os, signal, sys\n"
        f"autolora.interrupt.GRACE_S = {10 * LIMIT_S}\n"
        "once = iter([signal.SIGINT])\n"
        "def send(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'numpy':\n"
        "        os.kill(os.getpid(), next(once, 0))\n"
        f"print('ready'); sys.addaudithook(send); import torch, time; {WAIT}; print('goes on')"
    )
    process = start_python(code, tmp_path)
    output, errors = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, output, errors) == (STATUS, "", "\ninterrupted\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a folder with the two files that make it a repository."""
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.slow
def test_a_command_can_be_interrupted(repository: Path) -> None:
    (repository / "cache/index").mkdir(
        parents=True
    )  # so that a search waits for the index to be complete again
    code = (
        "import time, types; from autolora.__main__ import main; from autolora.index import served; "
        f"served.time = types.SimpleNamespace(sleep=lambda _: (print('ready'), {WAIT})); main()"
    )
    process = start([sys.executable, "-c", code, "search", "a cat"], repository)
    assert process.stdout and process.stdout.readline() == "ready\n"
    output, errors = interrupt(process)
    assert (process.returncode, output, errors) == (STATUS, "", "\ninterrupted\n")


@pytest.fixture
def silent_hub(repository: Path) -> Iterator[socket.socket]:
    """Replace the hubs of the repository by one that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5 * LIMIT_S)  # a stage may create Prefect's database before
        shutil.copytree(ROOT / "digests/code", repository / "digests/code")
        params = repository / "params.yaml"
        params.write_text(
            params.read_text().replace("127.0.0.1:8765", f"127.0.0.1:{server.getsockname()[1]}")
        )
        yield server


def wait_for_import(process: "subprocess.Popen[str]", hub: socket.socket) -> None:
    """Wait until Prefect's client is imported, which is in the middle of a stage's imports."""
    assert process.stderr
    while "prefect.client" not in (line := process.stderr.readline()):
        assert line, "the stage ended"


def wait_for_request(process: "subprocess.Popen[str]", hub: socket.socket) -> None:
    """Wait until the stage asks the hub."""
    hub.accept()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "wait"), [(["-X", "importtime"], wait_for_import), ([], wait_for_request)]
)
def test_a_stage_can_be_interrupted(
    options: list[str],
    wait: Callable[["subprocess.Popen[str]", socket.socket], None],
    repository: Path,
    silent_hub: socket.socket,
) -> None:
    process = start([sys.executable, *options, "-m", "flows.crawl"], repository)
    wait(process, silent_hub)
    _, errors = interrupt(process)
    assert process.returncode == STATUS and "Traceback" not in errors
    assert not (repository / "data").exists() and not list(repository.glob("**/*.tmp"))
