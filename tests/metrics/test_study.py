"""Reading the tables of a study: sorted, and strict."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import MismatchError, MissingArtifact
from autolora.metrics.study import LOSSES, Interval, main_score, read_study

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
    worlds = read_study(write(tmp_path, {"large": {"3": TABLE, LOSSES: {"gates": {}}}}), "measure")
    table = worlds["large"]["3"]
    assert (table.title, table.score, table.cases, table.images) == ("Table 3", "all shown", 2, 4)
    assert [row.name for row in table.rows] == ["velocity", "direct"]
    assert table.rows[0].reference == "direct"
    assert table.rows[0].difference == Interval(value=0.25, low=0.125, high=0.5)
    assert table.rows[1].reference is None and table.rows[1].difference is None


def test_a_missing_file_has_no_world(tmp_path: Path) -> None:
    assert read_study(tmp_path / "none.json", "measure") == {}


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "some.json").write_text("{")
    with pytest.raises(MissingArtifact, match="not valid JSON"):
        read_study(tmp_path / "some.json", "measure")


def changed(**fields: Any) -> dict[str, Any]:
    return {"world": {"3": {**TABLE, **fields}}}


def row_of(**fields: Any) -> dict[str, Any]:
    return changed(rows={"direct": {"all shown": {**ENTRY, **fields}}})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"world": []}, "items"),
        ({"world": {"3": 1}}, "get"),
        ({"world": {"3": {"pairs": 3, "methods": {}}}}, "table '3' has no valid 'rows'"),
        (changed(title=None), "table '3' has no valid 'title'"),
        (changed(date="yesterday"), "yesterday"),
        (changed(cases=1.5), "table '3' has no valid 'cases'"),
        (changed(**{"images per row": True}), "table '3' has no valid 'images per row'"),
        (changed(rows={}), "all shown or both shown or VQAScore"),
        (changed(rows={"direct": {"all shown": 0.5}}), "rows of table '3'"),
        (row_of(low=None), "'None' is not a number"),
        (row_of(value=float("nan")), "'nan' is not a number"),
        (row_of(low=0.8), "the interval from 0.8 to 0.75 is empty"),
        (row_of(difference=DIFFERENCE), "compared with"),
        (row_of(**{"compared with": "x", "difference": {}}), "value"),
    ],
)  # fmt: skip
def test_another_layout_is_an_error_that_says_what_to_do(tmp_path: Path, content: Any, problem: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(MismatchError) as error:
        read_study(path, "python -m bench.paper")
    assert problem in str(error.value)
    assert str(error.value).startswith(
        "some.json does not hold tables as `python -m bench.paper` writes them"
    )
    assert str(error.value).endswith("run the command again")


def test_a_table_without_a_main_score_has_none() -> None:
    assert main_score({"a": {"VQAScore": 1, "own 1": 2}, "b": {"both shown": 3}}) == "both shown"
    with pytest.raises(KeyError):
        main_score({"a": {"own 1": 2}})
