"""One flow as one process: how it ends if it fails, takes too long, or nobody reads its output."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from autolora.params import load
from autolora.stages import STAGES
from flows import code_digests, stage
from flows.stage import FAILURE_VARIABLE, UNREAD, guarded

ROOT = Path(__file__).parents[2]


def run(body: str, read: bool = True, **environment: str) -> tuple[int, str]:
    """Run a flow with this body as a process; return exit status and standard error."""
    script = f"from flows.stage import run\nasync def flow():\n    {body}\nrun(flow, guard=False)"
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


def test_failure_is_printed_and_left_for_the_refresh(tmp_path: Path) -> None:
    path = tmp_path / "failure.json"
    body = "from autolora.errors import HubError; raise HubError('hub x answered 503')"
    status, errors = run(body, **{FAILURE_VARIABLE: str(path)})
    assert (status, errors) == (1, "HubError: hub x answered 503\n")
    assert json.loads(path.read_text()) == {"flow": "flow", "reason": "HubError: hub x answered 503"}


@pytest.mark.parametrize(("argument", "status"), [("--help", 0), ("--dry-run", 2)])
def test_flow_takes_no_argument_but_help(argument: str, status: int) -> None:
    command = [sys.executable, "-m", "flows.refresh", argument]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status and "usage: python -m flows.refresh" in done.stdout + done.stderr


def test_flow_that_takes_too_long_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    values = load(ROOT / "params.yaml")
    short = replace(values, refresh=replace(values.refresh, timeout_h=0.1 / 3600))
    monkeypatch.setattr(stage, "params", lambda: short)
    monkeypatch.setattr(code_digests, "check", lambda root, *stages: None)
    with (
        pytest.raises(AutoLoraError, match=r"pool did not finish within .* raise the limit"),
        guarded("pool"),
    ):
        time.sleep(10)
    time.sleep(0.2)  # the alarm is off again


def test_an_interruption_before_the_flow_begins_leaves_no_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_digests, "check", lambda root, *stages: None)
    set_alarm, before = signal.setitimer, signal.getsignal(signal.SIGALRM)

    def set_and_interrupt(which: int, seconds: float, interval: float = 0.0) -> None:
        set_alarm(which, seconds, interval)
        if seconds:
            raise KeyboardInterrupt

    monkeypatch.setattr(signal, "setitimer", set_and_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), guarded("pool"):
            pytest.fail("the flow does not begin")
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is before
    finally:
        set_alarm(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_flow_checks_its_own_code_and_the_refresh_that_of_all_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[tuple[str, ...]] = []
    monkeypatch.setattr(code_digests, "check", lambda root, *stages: checked.append(stages))
    for name in ("index", "refresh"):
        with guarded(name):
            pass
    assert checked == [("index",), STAGES]
