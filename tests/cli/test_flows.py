"""`autolora refresh`, `takedown`, `prune`: the process of a flow of the project, its status and signals."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autolora.cli import flows
from autolora.errors import MissingArtifact

ROOT = Path(__file__).parents[2]
ECHO = "import sys; print(sys.argv[1:], flush=True); sys.exit(7)"
WAIT = "import time; print('ready', flush=True); time.sleep(60)"


def make_project(root: Path, name: str, code: str) -> None:
    """Write a project whose flow of that name is this code."""
    for file in ("params.yaml", "dvc.yaml"):
        (root / file).write_text("")
    (root / "flows").mkdir()
    (root / "flows" / "__init__.py").write_text("")
    (root / "flows" / f"{name}.py").write_text(code)


def start(root: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command in a project."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "autolora", *arguments]
    return subprocess.Popen(command, cwd=root, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["refresh"], []),
        (["refresh", "--train", "2026-01-05"], ["--train=2026-01-05"]),
        (["takedown", "a", "b", "--reason", "-x", "--apply"], ["--reason=-x", "--apply", "--", "a", "b"]),
        (["takedown", "--apply"], ["--apply", "--"]),
        (["takedown", "--prove", "a"], ["--prove", "--", "a"]),
        (["prune"], ["--days=30"]),
        (
            ["prune", "--keep", "9", "--days", "0", "--remote", "--apply"],
            ["--days=0", "--keep=9", "--remote", "--apply"],
        ),
    ],
)
def test_flow_gets_the_arguments_and_sets_the_exit_status(
    tmp_path: Path, arguments: list[str], passed: list[str]
) -> None:
    make_project(tmp_path, arguments[0], ECHO)
    process = start(tmp_path, *arguments)
    output, errors = process.communicate()
    assert (process.returncode, output, errors) == (7, f"{passed}\n", "")


def test_flow_gets_the_signals(tmp_path: Path) -> None:
    make_project(
        tmp_path, "refresh", f"import signal; signal.signal(signal.SIGINT, lambda *_: exit(9))\n{WAIT}"
    )
    process = start(tmp_path, "refresh")
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 9


@pytest.mark.parametrize("missing", ["params.yaml", "dvc.yaml", "flows"])
def test_outside_a_project_the_message_says_what_is_missing(
    tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(tmp_path, "refresh", ECHO)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    message = (
        f"not a project with stages: it contains no {missing}. Run `autolora refresh` in the root of a clone"
    )
    with pytest.raises(MissingArtifact, match=message):
        flows.refresh()


def test_help_is_that_of_the_command(tmp_path: Path) -> None:
    process = start(tmp_path, "takedown", "--help")
    output, _ = process.communicate()
    assert process.returncode == 0 and "--reason" in output and "data/takedowns.jsonl" in output


@pytest.mark.parametrize("reason", [[], ["--reason", " "]])
def test_a_takedown_without_a_reason_is_an_error_like_those_of_other_commands(
    tmp_path: Path, reason: list[str]
) -> None:
    make_project(tmp_path, "takedown", ECHO)
    process = start(tmp_path, "takedown", "a", *reason)
    output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert "Invalid value for --reason" in errors and "say why (--reason TEXT)" in errors
