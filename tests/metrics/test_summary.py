"""metrics/details.json: rows of one command are replaced together, and repeating a measurement writes nothing."""

import datetime
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autolora.metrics.summary import DETAILS, SUMMARY, Headline, read_numbers, update

ROOT = Path(__file__).parents[2]
DAY = datetime.date(2026, 1, 1)
LATER = datetime.date(2026, 2, 1)
RECALL = Headline(
    name="retrieval.theme_r_at_1_unseen", value=0.12345678, low=0.1, high=0.2, n=9, preset="best"
)
SECONDS = Headline(name="bench.seconds", value=3.0, n=5, better="lower", goal=5)


def test_rows_are_flat_rounded_and_sorted(tmp_path: Path) -> None:
    update(tmp_path, "evaluate", DAY, [RECALL])
    update(tmp_path, "measure", DAY, [SECONDS])
    rows = json.loads((tmp_path / DETAILS).read_text())
    assert list(rows) == ["bench.seconds", RECALL.name]
    assert rows[RECALL.name] == {
        "value": 0.123457, "low": 0.1, "high": 0.2, "n": 9, "better": "higher", "goal": None,
        "preset": "best", "command": "evaluate", "date": "2026-01-01",
    }  # fmt: skip
    assert (rows["bench.seconds"]["goal"], rows["bench.seconds"]["low"]) == (5, None)


def test_the_summary_has_the_values_that_decide_something(tmp_path: Path) -> None:
    validated = replace(RECALL, name="retrieval.theme_r_at_1_validation", value=0.5)
    update(tmp_path, "evaluate", DAY, [RECALL, validated, SECONDS])
    assert json.loads((tmp_path / SUMMARY).read_text()) == {RECALL.name: 0.123457, validated.name: 0.5}


def test_command_replaces_all_of_its_rows_and_no_others(tmp_path: Path) -> None:
    update(tmp_path, "evaluate", DAY, [RECALL, replace(RECALL, name="retrieval.dropped")])
    update(tmp_path, "measure", DAY, [SECONDS])
    update(tmp_path, "evaluate", LATER, [replace(RECALL, value=0.5)])
    rows = read_numbers(tmp_path)
    assert set(rows) == {"bench.seconds", RECALL.name}
    assert (rows[RECALL.name]["value"], rows[RECALL.name]["date"]) == (0.5, "2026-02-01")


def test_repeated_measurement_with_equal_result_retains_the_date(tmp_path: Path) -> None:
    update(tmp_path, "evaluate", DAY, [RECALL])
    before = [(tmp_path / path).stat().st_mtime_ns for path in (DETAILS, SUMMARY)]
    update(tmp_path, "evaluate", LATER, [RECALL])
    assert [(tmp_path / path).stat().st_mtime_ns for path in (DETAILS, SUMMARY)] == before
    assert read_numbers(tmp_path)[RECALL.name]["date"] == "2026-01-01"


def test_there_are_no_numbers_before_the_first_measurement(tmp_path: Path) -> None:
    assert read_numbers(tmp_path) == {}


@pytest.mark.slow
def test_dvc_shows_the_summary(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    definition = yaml.safe_load((tmp_path / "dvc.yaml").read_text())
    assert definition["metrics"] == ["metrics/summary.json"] and "plots" not in definition
    update(tmp_path, "measure", DAY, [replace(SECONDS, name="bench.cold_search_seconds", value=0.123)])
    for command in (["init", "--no-scm", "--quiet"], ["metrics", "show"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert "bench.cold_search_seconds" in done.stdout and "0.123" in done.stdout
