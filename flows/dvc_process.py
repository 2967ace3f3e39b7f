"""Running DVC commands with this interpreter, with their output passed on."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from autolora.errors import AutoLoraError
from flows import stage
from flows.stage import FAILURE_VARIABLE, ROOT, StageFailed

TAIL_LINES = 40
STOP_S = 4
"""seconds that an interrupted DVC gets to end, less than those of this process (autolora.interrupt)"""
FAILURE = "cache/failure.json"
HINTS = (
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Updating lock file",
)
"""beginnings of lines that DVC prints after every stage"""
ENDS = ("is empty.", "didn't change, skipping")
"""ends of lines about tables without rows and stages that do not run"""


def reproduce(*arguments: str, lock_fd: int | None = None) -> None:
    """Run `dvc repro` with this interpreter and pass its output on, without blank lines and hints.

    The stages' flow runs are linked to the running task. lock_fd: file descriptor of a lock that DVC inherits.
    Raises StageFailed if it fails.
    """
    (ROOT / FAILURE).unlink(missing_ok=True)
    variables = stage.link_to_refresh() | {FAILURE_VARIABLE: str(ROOT / FAILURE)}
    status, tail = _stream(["repro", *arguments], lock_fd, variables)
    if status:
        raise StageFailed(_failure_reason(arguments), tail)


def run(arguments: Sequence[str], lock_fd: int | None) -> None:
    """Run a DVC command. Raises AutoLoraError with DVC's reason if it fails."""
    status, tail = _stream(arguments, lock_fd, {})
    if status:
        reasons = (
            [line for line in tail.splitlines() if "ERROR" in line]
            or tail.splitlines()
            or [f"it ended with {status} and gave no reason"]
        )
        raise AutoLoraError(
            f"`dvc {arguments[0]}` failed: {reasons[-1].removeprefix('ERROR: ')}; nothing is lost: correct the cause, "
            "then run `python -m flows.dvc`, or wait for the next refresh"
        )


def _stream(arguments: Sequence[str], lock_fd: int | None, variables: dict[str, str]) -> tuple[int, str]:
    """Run a DVC command, print its output, and return its exit status and its last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=ROOT,
        env=_environment() | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=() if lock_fd is None else (lock_fd,),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip() and not line.strip().startswith(HINTS) and not line.rstrip().endswith(ENDS):
                stage.print_and_log(line.rstrip("\n"))
                tail.append(line)
        return process.wait(), "".join(tail)
    except BaseException:
        _stop(process)
        raise


def _stop(process: "subprocess.Popen[str]") -> None:
    """End DVC and the stage that it runs: by SIGINT, so that both clean up, else by SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=STOP_S)  # reads on, because a full pipe would block them
            return


def _environment() -> dict[str, str]:
    """Return the environment of DVC, in which its stages find this interpreter."""
    executables = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": executables, "DVC_NO_ANALYTICS": "1"}


def _failure_reason(arguments: Sequence[str]) -> str:
    """Return the reason that the failed stage has written; if DVC itself failed, there is none."""
    try:
        failure = json.loads((ROOT / FAILURE).read_text())
        return f"{failure['flow']}: {failure['reason']}"
    except (OSError, ValueError, KeyError):
        command = " ".join(["dvc repro", *arguments])
        return f"`{command}` failed outside of a stage: see the last lines of its output"
