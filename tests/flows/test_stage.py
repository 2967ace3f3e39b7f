"""How a stage's process ends where nobody reads what it prints."""

import subprocess
import sys
from pathlib import Path

from flows.stage import UNREAD

ROOT = Path(__file__).parents[2]


def end(body: str, read: bool) -> tuple[int, str]:
    """Run a flow with that body; return exit status and standard error."""
    script = f"from flows.stage import run\nasync def flow():\n    {body}\nrun(flow)"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout and process.stderr
        if not read:
            process.stdout.close()
        said = process.stderr.read()
    return process.returncode, said


def test_nobody_reads_on() -> None:
    assert end("print('a line', flush=True)", read=False) == (UNREAD, "")


def test_another_pipe_is_an_error() -> None:
    status, said = end("raise BrokenPipeError('a socket')", read=True)
    assert status == 1 and "a socket" in said
