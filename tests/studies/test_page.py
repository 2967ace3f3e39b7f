"""Tables for pages: rows, columns per world, pages that have them, and a file that is missing."""

import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from bench.processes import PROJECT
from studies.losses import loss_table
from studies.page import case_table, other_scores, read_losses, tables
from studies.study_file import NO_INTERVALS, StudyFile
from studies.tables import Interval, StudyRow, StudyTable, read_study

PAGES = [
    ("gates.md", "gates_bench.json", set[str](), ""),
    ("experiments.md", "paper_bench.json", {"single", "unnamed"}, "2345"),
]
"""page, file, tables that it shows as curves, and those of which it has further scores"""


def row(name: str, value: float, reference: str | None = None) -> StudyRow:
    interval = Interval(value=value, low=value - 0.1, high=value + 0.1)
    return StudyRow(
        name=name, score=interval, reference=reference, difference=interval if reference else None, others={}
    )


def table(*rows: StudyRow) -> StudyTable:
    return StudyTable(title="Pairs", day=date(2026, 1, 1), score="all shown", cases=2, images=4, rows=rows)


def test_every_row_has_the_columns_of_all_worlds() -> None:
    small = table(row("velocity", 0.8, "direct"), row("direct", 0.5))
    large = table(row("direct", 0.4), row("mean", 0.2, "direct"))
    printed = tables({"small": {"3": small, "4": small}, "large": {"3": large}})
    assert printed["3"].splitlines() == [
        "**Pairs** (small: 2 cases, 4 images per row; large: 2 cases, 4 images per row)",
        "",
        "| row | small: all shown | less `direct` | large: all shown | less `direct` |",
        "| --- | --- | --- | --- | --- |",
        "| velocity | 0.80 [0.70, 0.90] | +0.80 [+0.70, +0.90] |  |  |",
        "| direct | 0.50 [0.40, 0.60] |  | 0.40 [0.30, 0.50] |  |",
        "| mean |  |  | 0.20 [0.10, 0.30] | +0.20 [+0.10, +0.30] |",
    ]
    assert "large" not in printed["4"]


def test_rows_with_different_references_have_a_plain_head() -> None:
    mixed = table(row("direct, reversed", 0.5, "direct"), row("mean, reversed", 0.2, "mean"))
    assert "| difference |" in tables({"small": {"order": mixed}})["order"]


def test_tables_without_differences_have_no_column_for_them() -> None:
    assert tables({"small": {"choice": table(row("gated", 0.5))}})["choice"].splitlines()[2:4] == [
        "| row | small: all shown |",
        "| --- | --- |",
    ]


def test_cases_have_a_line_per_table_and_world() -> None:
    plain = table(row("direct", 0.5))
    counted = replace(plain, different={"set": 2}, per_case={"adapters of the test split": {2: 1, 1: 1}})
    assert case_table({"small": {"2": plain, "3": counted}, "large": {"3": plain}}).splitlines()[2:] == [
        "| table | world | cases | adapters of the test split |",
        "| --- | --- | --- | --- |",
        "| Pairs | small | 2 cases, 4 images per row |  |",
        "| Pairs | small | 2 cases, 4 images per row, 2 different sets | 2 in 1, 1 in 1 |",
        "| Pairs | large | 2 cases, 4 images per row |  |",
    ]


@pytest.mark.parametrize(("page", "study", "curves", "further"), PAGES)
def test_pages_have_the_tables_of_their_files(page: str, study: str, curves: set[str], further: str) -> None:
    text = (PROJECT / "docs" / page).read_text()
    worlds = read_study(PROJECT / "metrics" / study, "").worlds
    printed = tables(worlds)
    assert [name for name, markdown in printed.items() if name not in curves and markdown not in text] == []
    assert case_table(worlds) in text
    losses = read_losses(PROJECT / "metrics" / study)
    assert losses and loss_table(losses) in text
    others = other_scores(worlds)
    assert [name for name in further if others[name] not in text] == []


def test_further_scores_have_a_table_per_world() -> None:
    scores = {"own 1": Interval(value=-0.12, low=None, high=None)}
    both = table(replace(row("direct", 0.5), others=scores), row("mean", 0.2))
    printed = other_scores({"small": {"2": both, "3": table(row("direct", 0.5))}, "large": {"2": both}})
    assert printed.keys() == {"2"}
    assert printed["2"].splitlines()[:6] == [
        "**Pairs: other scores** (small)",
        "",
        "| row | own 1 |",
        "| --- | --- |",
        "| direct | −0.12 |",
        "| mean |  |",
    ]
    assert "**Pairs: other scores** (large)" in printed["2"]


@pytest.mark.parametrize("study", ["gates_bench.json", "paper_bench.json"])
def test_the_repository_s_studies_can_be_read(study: str) -> None:
    read = read_study(PROJECT / "metrics" / study, "")
    assert read.worlds["playground"] and read.problems == ()


def test_a_table_without_intervals_says_why() -> None:
    interval = Interval(value=0.5, low=None, high=None)
    few = table(StudyRow(name="direct", score=interval, reference=None, difference=None, others={}))
    lines = tables({"small": {"3": few}, "large": {"3": table(row("direct", 0.4))}})["3"].splitlines()
    assert lines[2] == NO_INTERVALS and lines[-1] == "| direct | 0.50 | 0.40 [0.30, 0.50] |"


def test_a_missing_file_names_the_commands(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studies.page", str(tmp_path / "none.json")]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "python -m studies.paper" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_table_of_another_layout_is_named_and_the_others_are_printed(tmp_path: Path) -> None:
    file = StudyFile(root=tmp_path, path=Path("some.json"), command="measure", world="small")
    rows = {"direct": {"all shown": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    file.store("3", {"title": "Pairs", "cases": 5, "images per row": 5, "rows": rows}, date(2026, 1, 1))
    file.store("4", {"former": 1}, date(2026, 1, 1))
    command = [sys.executable, "-m", "studies.page", str(tmp_path / "some.json")]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("**Cases**\n")
    assert "\n\n**Pairs** (small: 5 cases, 5 images per row)\n" in ended.stdout
    assert ended.stderr.startswith("some.json: table '4' of small is left out")
