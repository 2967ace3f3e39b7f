"""Warm processes (tests/support/warm.py) begin and end as real ones do."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from autolora.storage.lock import exclusive_lock, is_locked

FLOW = """
import json, os, sys
print(json.dumps({
    "imported": "torch" in sys.modules, "arguments": sys.argv[1:], "folder": os.getcwd(), "given": os.getenv("GIVEN"),
    "stdin": sys.stdin.read(), "module": __name__,
    "project": [name for name in sys.modules if name.partition(".")[0] == "autolora"],
}))
print("a line", file=sys.stderr)
if sys.argv[1:]:
    raise {"exit": SystemExit(3), "message": SystemExit("a message"), "error": ValueError("an error")}[sys.argv[1]]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a flow that prints what it was given, and ends as its argument says."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").touch()
    (tmp_path / "flows/shown.py").write_text(FLOW)
    return tmp_path


def start(warm: Path, folder: Path, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
    path = f"{warm}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path} | options.pop("environment", {})
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = ["python", "-m", "flows.shown", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes, **options)


def test_a_flow_is_given_what_a_real_process_is_given(warm: Path, folder: Path) -> None:
    process = start(warm, folder, environment={"GIVEN": "a value"})
    output, errors = process.communicate("some input")
    assert (process.returncode, errors) == (0, "a line\n")
    assert json.loads(output) == {
        "imported": True, "arguments": [], "folder": str(folder), "given": "a value", "stdin": "some input",
        "module": "__main__", "project": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("end", "status", "text"),
    [("exit", 3, "a line\n"), ("message", 1, "a message\n"), ("error", 1, "ValueError: an error\n")],
)
def test_a_flow_ends_as_a_real_process(warm: Path, folder: Path, end: str, status: int, text: str) -> None:
    process = start(warm, folder, end)
    output, errors = process.communicate("")
    assert process.returncode == status and errors.endswith(text)
    assert json.loads(output)["arguments"] == [end]


def test_pythonpath_starts_a_real_process(warm: Path, folder: Path) -> None:
    output, _ = start(warm, folder, environment={"PYTHONPATH": str(folder)}).communicate("")
    assert not json.loads(output)["imported"]


def test_a_lock_that_is_passed_on_is_held_until_the_flow_ends(warm: Path, folder: Path) -> None:
    with exclusive_lock(folder) as descriptor:
        process = start(warm, folder, pass_fds=(descriptor,))
    assert is_locked(folder)
    process.communicate("")
    assert not is_locked(folder)
