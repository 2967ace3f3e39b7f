"""One flow as one process: how it ends if it fails, takes too long, or nobody reads its output."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autolora.stages import STAGES
from flows import code_digests, stage
from flows.stage import FAILURE_VARIABLE, UNREAD, check_code

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def run(body: str, read: bool = True, **environment: str) -> tuple[int, str]:
    """Run a flow with this body as a process; return exit status and standard error."""
    script = f"from flows.stage import run\ndef flow():\n    {body}\nrun(flow, guard=False)"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**stage.os.environ, **environment},
        stdout=pipe,
        stderr=pipe,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        if not read:
            process.stdout.close()
        errors = process.stderr.read()
    return process.returncode, errors


def test_ends_silently_if_nobody_reads_its_output() -> None:
    assert run("print('a line', flush=True)", read=False) == (UNREAD, "")


def test_another_broken_pipe_is_an_error() -> None:
    status, errors = run("raise BrokenPipeError('a socket')")
    assert status == 1 and "a socket" in errors


def test_failure_is_printed_once_by_the_flow_or_by_the_refresh_that_started_it(tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    body = "from autolora.errors import HubError; raise HubError('hub x answered 503')"
    assert run(body) == (1, "HubError: hub x answered 503\n")
    assert run(body, **{FAILURE_VARIABLE: str(path)}) == (1, "")
    assert json.loads(path.read_text()) == {"flow": "flow", "reason": "HubError: hub x answered 503"}


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--dry-run", 2)])
def test_flow_takes_no_argument_but_help(argument: str, status: int) -> None:
    command = [sys.executable, "-m", "flows.evict", argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status and "usage: python -m flows.evict" in done.stdout + done.stderr


def test_flow_checks_its_own_code_and_the_refresh_that_of_all_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[tuple[str, ...]] = []
    monkeypatch.setattr(code_digests, "check", lambda root, *stages: checked.append(stages))
    for name in ("index", "refresh"):
        check_code(name)
    assert checked == [("index",), STAGES]
