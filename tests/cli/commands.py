"""Runs a command of the command line in this process."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """Return what a command prints."""
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout
