"""Reading the tables of a study: sorted, and strict about each table."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import MissingArtifact
from studies.tables import LOSSES, Interval, Study, main_score, read_study, read_table

ENTRY = {"value": 0.5, "low": 0.25, "high": 0.75}
DIFFERENCE = {"value": 0.25, "low": 0.125, "high": 0.5}
BETTER = {**ENTRY, "value": 0.75, "compared with": "direct", "difference": DIFFERENCE}
TABLE: dict[str, Any] = {
    "title": "Table 3", "date": "2026-01-01", "cases": 2, "images per row": 4,
    "rows": {
        "direct": {"all shown": ENTRY, "VQAScore": ENTRY},
        "velocity": {"all shown": BETTER},
        "base": {"VQAScore": ENTRY},
    },
}  # fmt: skip


def write(root: Path, content: Any) -> Path:
    path = root / "some.json"
    path.write_text(json.dumps(content))
    return path


def test_rows_have_the_main_score_and_the_highest_comes_first(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, {"large": {"3": TABLE, LOSSES: {"gates": {}}}}), "measure")
    table = study.worlds["large"]["3"]
    assert study.problems == () and table.has_intervals
    assert (table.title, table.score, table.cases, table.images) == ("Table 3", "all shown", 2, 4)
    assert [row.name for row in table.rows] == ["velocity", "direct"]
    assert table.rows[0].reference == "direct"
    assert table.rows[0].difference == Interval(value=0.25, low=0.125, high=0.5)
    assert table.rows[1].reference is None and table.rows[1].difference is None


def test_a_number_may_have_no_interval(tmp_path: Path) -> None:
    unknown = {"low": None, "high": None}
    alone = changed(
        rows={"direct": {"all shown": ENTRY | unknown}, "velocity": {"all shown": BETTER | unknown}}
    )
    table = read_table(alone)
    assert not table.has_intervals
    assert [row.score for row in table.rows] == [
        Interval(value=value, low=None, high=None) for value in (0.75, 0.5)
    ]


def test_counts_agree_in_number(tmp_path: Path) -> None:
    assert read_table(TABLE).counts == "2 cases, 4 images per row"
    assert read_table(changed(cases=1, **{"images per row": 1})).counts == "1 case, 1 image per row"
    different = read_table(changed(different={"set": 2, "object": 1}))
    assert different.counts == "2 cases, 4 images per row, 2 different sets, 1 different object"


def test_a_missing_file_has_no_world(tmp_path: Path) -> None:
    assert read_study(tmp_path / "none.json", "measure") == Study(worlds={}, problems=())


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text("{")
    with pytest.raises(MissingArtifact, match="not valid JSON"):
        read_study(tmp_path / "some.json", "measure")


def changed(**fields: Any) -> dict[str, Any]:
    return {**TABLE, **fields}


def row_of(**fields: Any) -> dict[str, Any]:
    return changed(rows={"direct": {"all shown": {**ENTRY, **fields}}})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (1, "'1' is not an object"),
        ({"pairs": 3, "methods": {}}, "no valid 'rows'"),
        (changed(title=None), "no valid 'title'"),
        (changed(date="yesterday"), "yesterday"),
        (changed(cases=1.5), "no valid 'cases'"),
        (changed(**{"images per row": True}), "no valid 'images per row'"),
        (changed(different=["set"]), "no valid 'different'"),
        (changed(different={"set": "2"}), "no valid 'set'"),
        (changed(rows={}), "rows: 'all shown or both shown or VQAScore'"),
        (changed(rows={"direct": {"all shown": 0.5}}), "rows: "),
        (row_of(low=None), "'None' is not a number"),
        (row_of(value=None, low=None, high=None), "'None' is not a number"),
        (row_of(value=float("nan")), "'nan' is not a number"),
        (row_of(low=0.8), "the interval from 0.8 to 0.75 is empty"),
        (row_of(difference=DIFFERENCE), "compared with"),
        (row_of(**{"compared with": "x", "difference": {}}), "low"),
    ],
)  # fmt: skip
def test_a_table_of_another_layout_is_named_and_the_others_are_read(
    tmp_path: Path, table: Any, problem: str
) -> None:
    path = write(tmp_path, {"world": {"3": table, "4": TABLE}, "large": {"3": table}})
    study = read_study(path, "python -m studies.paper")
    assert {world: {*tables} for world, tables in study.worlds.items()} == {"world": {"4"}}
    first, second = study.problems
    assert problem in first
    assert first.startswith(
        "some.json: table '3' of world is left out, because it is not as `python -m studies.paper` writes it ("
    )
    assert first.endswith("): run the command again") and "table '3' of large" in second


def test_a_world_of_another_layout_is_named(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, {"world": [], "large": {"3": TABLE}}), "measure")
    assert {*study.worlds} == {"large"}
    assert ["'[]' is not an object" in problem for problem in study.problems] == [True]


def test_a_table_without_a_main_score_has_none() -> None:
    assert main_score({"a": {"VQAScore": 1, "own 1": 2}, "b": {"both shown": 3}}) == "both shown"
    with pytest.raises(KeyError):
        main_score({"a": {"own 1": 2}})
