"""The measurement of commands: first output, end, and status of real processes on a terminal."""

import sys
from pathlib import Path

import pytest
from typer.main import get_command

from autolora.cli import app
from bench import commands
from bench.commands import Run, all_cases, headlines, measure, run_on_terminal, to_markdown

pytestmark = pytest.mark.slow


def test_first_output_comes_before_the_end(tmp_path: Path) -> None:
    code = (
        "import sys, time; print('first', flush=True); time.sleep(3); print(sys.stdout.isatty()); sys.exit(1)"
    )
    run = run_on_terminal(tmp_path, [sys.executable, "-c", code])
    assert 0 < run.first_s < run.total_s - 0.5 and run.status == 1
    assert 0 < run.cpu_s < run.total_s and run.megabytes > 1


def test_a_command_without_output_is_as_fast_as_its_end(tmp_path: Path) -> None:
    run = run_on_terminal(tmp_path, [sys.executable, "-c", "pass"])
    assert run.first_s == run.total_s and run.status == 0


def test_every_command_is_measured() -> None:
    measured = {arguments[0] for arguments in all_cases().values()}
    assert set(get_command(app).commands) <= measured  # type: ignore[attr-defined]  # a click group


def test_a_crash_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ROUNDS", 1)
    with pytest.raises(RuntimeError, match="no-such-command ended with status"):
        measure(tmp_path, ["no-such-command"])


def test_medians_become_rows_and_a_table() -> None:
    runs = {
        "search": [Run(first_s=s, total_s=2 * s, cpu_s=0.3, megabytes=100, status=0) for s in (1.0, 0.2, 0.4)]
    }
    rows = {row.name: row for row in headlines(runs)}
    first = rows["reach.command_search_first_output_seconds"]
    assert (first.value, first.goal, first.n, first.better) == (0.4, 1.5, 3, "lower")
    assert rows["reach.command_search_seconds"].value == 0.8
    assert '| `autolora search "a cat"` | 0.40 | 0.80 | 0.30 | 100 |' in to_markdown(
        {"search": ("search", "a cat")}, runs
    )
