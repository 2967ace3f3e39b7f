"""The reason that a failed `dvc repro` gives."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import dvc_process, stage
from flows.stage import StageFailed

pytestmark = pytest.mark.slow


def test_failure_begins_with_the_reason_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_process, "ROOT", tmp_path)
    monkeypatch.setattr(stage, "link_to_refresh", dict)
    (tmp_path / "cache").mkdir()
    (tmp_path / dvc_process.FAILURE).write_text(json.dumps({"flow": "index", "reason": "of an earlier run"}))
    with pytest.raises(StageFailed, match=r"^`dvc repro` failed outside of a stage"):
        dvc_process.reproduce()
    script = "flow, reason = 'pool', 'HubError: hub civitai answered 503'"
    monkeypatch.setattr(dvc_process.sys, "executable", fake_dvc(tmp_path, script))
    with pytest.raises(StageFailed, match=r"^pool: HubError: hub civitai answered 503$") as caught:
        dvc_process.reproduce()
    assert caught.value.output == "a last line\n"


def fake_dvc(folder: Path, script: str) -> str:
    """Return an executable that fails as a stage under DVC does: it writes its reason and prints a line."""
    path = folder / "python"
    path.write_text(
        f"#!/usr/bin/env python3\nimport json, os, sys\n{script}\n"
        f"open(os.environ['{stage.FAILURE_VARIABLE}'], 'w').write(json.dumps(dict(flow=flow, reason=reason)))\n"
        "print('To track the changes with git, run:')\nprint()\nprint('a last line')\nsys.exit(1)\n"
    )
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("handler", "stop_s", "ended_by"),
    [
        ("lambda *_: (pathlib.Path('cleaned').touch(), sys.exit(3))", 120.0, 3),
        ("signal.SIG_IGN", 1.0, -signal.SIGTERM),
    ],
)
def test_an_interrupted_run_ends_dvc_and_its_stage(
    handler: str, stop_s: float, ended_by: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC gets SIGINT, and SIGTERM if it does not end; more output than a pipe holds does not block it."""
    monkeypatch.setattr(dvc_process, "STOP_S", stop_s)
    code = (
        f"import pathlib, signal, sys, time; signal.signal(signal.SIGINT, {handler}); print('ready', flush=True)\n"
        "time.sleep(0.2); print('x' * 1_000_000, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    dvc_process._stop(process)
    assert process.returncode == ended_by
    assert (tmp_path / "cleaned").exists() == (ended_by == 3)
