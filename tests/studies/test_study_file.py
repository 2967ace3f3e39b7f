"""Tables of a study: the file, Markdown, and the rows of metrics/details.json."""

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora.metrics.summary import read_numbers
from studies.study_file import LOSSES, NO_INTERVALS, StudyFile, Write, loss_table, main_score, to_markdown

DAY, LATER = datetime.date(2026, 1, 1), datetime.date(2026, 2, 1)
ENTRY = {"value": 0.5, "low": 0.25, "high": 0.75, "runs": [0.4, 0.6]}
COMPARED = {
    **ENTRY, "value": 0.4, "compared with": "direct", "difference": {"value": -0.1, "low": -0.2, "high": 0.0},
    "images": {"wins": 0.25, "ties": 0.25, "losses": 0.5},
}  # fmt: skip
ROWS = {"direct": {"VQAScore": ENTRY}, "gated, paper": {"VQAScore": COMPARED}}
TABLE: dict[str, Any] = {"title": "Table 3", "cases": 2, "images per row": 4, "rows": ROWS}


def study_file(root: Path, world: str = "playground", write: Write = "larger") -> StudyFile:
    path = Path("metrics", "some.json")
    return StudyFile(root=root, path=path, command="measure", world=world, write=write)


def read(file: StudyFile) -> dict[str, Any]:
    """Return world -> name -> table."""
    return dict(json.loads((file.root / file.path).read_text()))


def test_a_table_replaces_its_former_one_and_no_other(tmp_path: Path) -> None:
    file, other = study_file(tmp_path), study_file(tmp_path, "large")
    file.store("3", TABLE, DAY)
    file.store("4", TABLE | {"title": "Table 4"}, DAY)
    other.store("3", TABLE, DAY)
    file.store("3", TABLE | {"cases": 5}, LATER)
    worlds = read(file)
    assert {world: {*tables} for world, tables in worlds.items()} == {
        "playground": {"3", "4"},
        "large": {"3"},
    }
    changed, unchanged = worlds["playground"]["3"], worlds["playground"]["4"]
    assert (changed["cases"], changed["date"], unchanged["date"]) == (5, "2026-02-01", "2026-01-01")


@pytest.mark.parametrize(
    ("smaller", "counts"),
    [
        ({"cases": 1, "images per row": 1}, "this one has 1 case, 1 image per row, 2 rows, 1 score, 2 runs."),
        ({"cases": 9, "images per row": 3}, "this one has 9 cases, 3 images per row, 2 rows"),
        ({"rows": {"direct": {"VQAScore": ENTRY}}}, "this one has 2 cases, 4 images per row, 1 row,"),
        ({"rows": {name: {"all shown": ENTRY | {"runs": [0.5]}} for name in ROWS}}, "2 rows, 1 score, 1 run."),
    ],
)  # fmt: skip
def test_a_smaller_table_replaces_none_by_accident(
    tmp_path: Path, smaller: dict[str, Any], counts: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(tmp_path)
    assert file.store("3", TABLE, DAY)
    before = (tmp_path / file.path).read_bytes()
    assert not file.store("3", TABLE | smaller, LATER)
    assert (tmp_path / file.path).read_bytes() == before
    shown = capsys.readouterr().out
    assert shown.startswith("Not written: table '3' of playground in metrics/some.json has 2 cases, 4 images")
    assert counts in shown and "`--write all` replaces it" in shown
    assert study_file(tmp_path, "trial").store("3", TABLE | smaller, LATER)  # its own world has none
    assert file.store("4", TABLE | smaller, LATER)  # nor has the playground this one
    assert study_file(tmp_path, write="all").store("3", TABLE | smaller, LATER)
    assert read(file)["playground"]["3"]["date"] == "2026-02-01"


def test_fewer_losses_replace_none_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file(tmp_path)
    both: dict[str, Any] = {"gates": {"full": {"0": {}, "1": {}}}}
    assert file.store(LOSSES, both, DAY)
    assert not file.store(LOSSES, {"gates": {"full": {"0": {}}}}, LATER)
    assert "has 2 trainings, this one has 1 training." in capsys.readouterr().out
    assert file.store(LOSSES, both, LATER)


def test_nothing_is_written_if_nothing_is_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file(tmp_path, write="none")
    assert not file.store("3", TABLE, DAY)
    file.summarize("paper", "best", DAY)
    file.remind()
    assert [*tmp_path.iterdir()] == []
    assert "Nothing is written. `--write larger` writes" in capsys.readouterr().out
    study_file(tmp_path).remind()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damaged", [[], {"3": 5}, {"3": {"methods": {}}}, {LOSSES: [], "3": TABLE}])
def test_a_table_of_another_layout_is_replaced(tmp_path: Path, damaged: Any) -> None:
    file = study_file(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / file.path).write_text(json.dumps({"playground": damaged}))
    assert file.tables() == {}
    assert file.store("3", TABLE | {"cases": 1}, DAY) and file.store(LOSSES, {"gates": {}}, DAY)
    assert file.tables()["3"]["cases"] == 1
    file.summarize("paper", "best", DAY)


def test_tables_are_in_the_order_of_the_study_however_they_were_written(tmp_path: Path) -> None:
    file = replace(study_file(tmp_path), order=("strengths", "3", "10"))
    for name in ("former", "10", "3", "strengths"):
        file.store(name, TABLE, DAY)
    assert [*read(file)["playground"]] == ["strengths", "3", "10", "former"]


def test_an_equal_table_retains_its_date(tmp_path: Path) -> None:
    file = study_file(tmp_path)
    file.store("3", TABLE, DAY)
    before = (tmp_path / file.path).stat().st_mtime_ns
    file.store("3", TABLE, LATER)
    assert (tmp_path / file.path).stat().st_mtime_ns == before


def test_the_summary_has_the_best_row_of_each_table_and_those_that_others_are_compared_with(
    tmp_path: Path,
) -> None:
    file = study_file(tmp_path)
    file.store("3", TABLE | {"rows": ROWS | {"velocity, all": {"VQAScore": COMPARED | {"value": 0.7}}}}, DAY)
    file.store("strengths", TABLE | {"title": "Strengths", "rows": {"× 1": {"VQAScore": ENTRY}}}, DAY)
    file.store(LOSSES, {"gates": {}}, DAY)
    file.summarize("paper", "best", DAY)
    summary = read_numbers(tmp_path)
    assert {*summary} == {
        "fusion.paper_3_vqascore_direct",
        "fusion.paper_3_vqascore_velocity_all",
        "fusion.paper_strengths_vqascore_1",
    }
    row = summary["fusion.paper_3_vqascore_direct"]
    assert (row["high"], row["n"], row["preset"], row["command"]) == (0.75, 4, "best", "measure")


def test_markdown_has_the_columns_that_some_row_has() -> None:
    text = to_markdown(TABLE)
    assert "## Table 3\n\n2 cases, 4 images per row.\n" in text
    with_sets = to_markdown(TABLE | {"different": {"set": 2, "style": 1}})
    assert "\n\n2 cases, 4 images per row, 2 different sets, 1 different style.\n" in with_sets
    assert "| row | VQAScore | VQAScore, difference | VQAScore, by run | images won, tied, lost |\n|" in text
    assert "| direct | 0.50 [0.25, 0.75] |  | 0.40 0.60 |  |" in text
    assert (
        "| gated, paper | 0.40 [0.25, 0.75] | −0.10 [−0.20, +0.00] | 0.40 0.60 | 0.25 / 0.25 / 0.50 |" in text
    )
    alone = to_markdown(TABLE | {"rows": {"direct": {"VQAScore": ENTRY | {"runs": [0.5]}}}})
    assert alone.splitlines()[-3:] == [
        "| row | VQAScore |",
        "| --- | --- |",
        "| direct | 0.50 [0.25, 0.75] |",
    ]


def test_markdown_says_why_there_are_no_intervals() -> None:
    few = {"value": 0.5, "low": None, "high": None, "runs": [0.5]}
    difference = {"compared with": "direct", "difference": {"value": 0.0, "low": None, "high": None}}
    rows = {"direct": {"VQAScore": few}, "mean": {"VQAScore": few | difference}}
    text = to_markdown(TABLE | {"cases": 1, "images per row": 1, "rows": rows})
    assert f"1 case, 1 image per row. {NO_INTERVALS}\n" in text
    assert text.endswith("| direct | 0.50 |  |\n| mean | 0.50 | +0.00 |")
    assert NO_INTERVALS not in to_markdown(TABLE)


def test_a_table_without_a_main_score_has_none() -> None:
    assert main_score({"a": {"VQAScore": 1, "own 1": 2}, "b": {"both shown": 3}}) == "both shown"
    with pytest.raises(KeyError):
        main_score({"a": {"own 1": 2}})


def test_losses_have_a_number_per_seed_in_the_order_of_the_steps() -> None:
    seeds = {
        "0": {"held_out": {"0": 0.3, "100": 0.4, "50": 0.2}, "best_step": 50},
        "1": {"held_out": {"0": 0.5, "100": 0.45, "50": 0.6}, "best_step": 100},
    }
    assert loss_table({"full": seeds, "paper": {"1": seeds["1"]}}).splitlines() == [
        "| gates | held-out loss at the start | lowest | after step | of steps |",
        "| --- | --- | --- | --- | --- |",
        "| full | 0.300 0.500 | 0.200 0.450 | 50 100 | 100 100 |",
        "| paper | 0.500 | 0.450 | 100 | 100 |",
    ]
