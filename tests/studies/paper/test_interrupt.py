"""Ctrl-C in `python -m studies.paper`: a real process gets SIGINT while it imports, trains or draws."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from autolora.interrupt import STATUS
from bench.processes import PROJECT
from tests.support.waiting import LIMIT_S

MESSAGE = "\ninterrupted: the same command continues from what it has kept, or starts again\n"
SLOW = {"fusion": {"steps": 100_000}, "generation": {"steps": 200}}
"""params with which trainings and images take longer than a test"""
IMPORT = """
import sys, time
sys.argv[0] = '-m'
import studies
print('ready', file=sys.stderr)
import studies.paper.world
time.sleep(60)  # a command works on after its imports, and there it ends
"""


@pytest.fixture
def slow_world(world_root: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(world_root, tmp_path / "world", ignore=shutil.ignore_patterns("paper")))
    values: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text())
    for section, changes in SLOW.items():
        values[section] |= changes
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return root


def interrupt(arguments: list[str], root: Path, sign: str) -> tuple[int, str]:
    """Run Python in a folder until stderr has a line with a sign, send SIGINT, and return status and rest of stderr."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    while sign not in (line := process.stderr.readline()):
        assert line, "the process has ended"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT_S)
    return process.returncode, errors


def test_imports_end_with_one_line(tmp_path: Path) -> None:
    assert interrupt(["-c", IMPORT], tmp_path, "ready") == (STATUS, MESSAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gates", "sign"), [(["best"], "[gates best, "), ([], "[Table 3")], ids=["training", "drawing"]
)
def test_a_run_ends_with_one_line(slow_world: Path, gates: list[str], sign: str) -> None:
    command = ["-m", "studies.paper", "--tables", "3", "--gates", *gates]
    status, errors = interrupt(command, slow_world, sign)
    assert status == STATUS
    assert errors.endswith(MESSAGE) and "Traceback" not in errors
    assert not list(slow_world.glob("**/*.tmp"))
