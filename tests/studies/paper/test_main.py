"""`python -m studies.paper` in a tiny world."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from autolora.storage.lock import exclusive_folder
from studies.case_counts import TEST_SPLIT, UNTRAINED
from studies.paper.__main__ import main
from studies.paper.experiments import EXPERIMENTS, Size
from studies.paper.images import ImageCache
from studies.paper.results import key_of
from studies.paper.world import CACHE, World
from studies.study_file import LOSSES, main_score

SMALL = (
    "--runs",
    "0",
    "1",
    "--images",
    "1",
    "--sets",
    "1",
    "--prompts",
    "3",
    "--objects",
    "1",
    "--styles",
    "1",
)


@pytest.fixture
def run(world_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command beside the world and returns the tables."""
    monkeypatch.chdir(tmp_path)

    def call(*options: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        main(["--world", str(world_root), "--name", "tiny", *SMALL, *options])
        return dict(json.loads((tmp_path / "metrics/paper_bench.json").read_text())["tiny"])

    return call


def test_tables_are_written_and_drawn_once(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = run("--tables", "3")
    assert [*tables] == ["3", LOSSES]
    assert {*tables[LOSSES]["gates"]} == {"paper", "released", "best"}
    assert {*tables[LOSSES]["gates"]["paper"]} == {"0", "1"}
    assert {*tables["3"]["per case"]} == {TEST_SPLIT, UNTRAINED}
    rows = tables["3"]["rows"]
    direct, base = (rows[name] for name in ("direct", "base"))
    assert main_score(rows) == "all shown"
    assert "difference" not in direct["VQAScore"]
    assert base["VQAScore"]["compared with"] == "direct" and len(base["VQAScore"]["runs"]) == 2
    assert sum(base["VQAScore"]["images"].values()) == pytest.approx(1)
    assert direct["alone 1"]["value"] <= 1 and not math.isnan(direct["all shown"]["value"])
    shown = capsys.readouterr().out
    assert "## Table 3, random pairs" in shown and "| direct |" in shown and "## Losses" in shown
    monkeypatch.setattr(ImageCache, "_draw", None)  # drawing again would fail
    assert run("--tables", "3") == tables


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_row_has_a_reference_and_the_cases_of_the_others(
    name: str, world: World, tmp_path: Path
) -> None:
    (tmp_path / "prompts.txt").write_text("a castle\na river\n")
    size = Size(runs=(0,), prompts=2, images=1, sets=2, other_prompts=tmp_path / "prompts.txt")
    plan = EXPERIMENTS[name].plan
    if name == "4" or name == "5":  # needs three fields of adapters
        assert plan(world, size, 0) == []
        return
    cells = plan(world, size, 0)
    rows = {cell.row for cell in cells}
    used = {cell.recipe.gates.variant for cell in cells if cell.recipe.gates}
    assert used == {*EXPERIMENTS[name].gates}
    assert {EXPERIMENTS[name].reference(row) for row in rows} <= rows
    cases = [{key_of(cell.case) for cell in cells if cell.row == row} for row in rows]
    assert all(keys == cases[0] for keys in cases) and cases[0]


def test_a_report_on_finished_cases_draws_nothing_and_may_be_beside_a_run(
    run: Any, world_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    former = run("--tables", "2", "--runs", "0")
    monkeypatch.setattr(ImageCache, "_draw", None)
    with exclusive_folder(world_root / CACHE):
        run("--finished", "--tables", "3", "--images", "7")
        before = run("--finished", "--tables", "2", "4")
        shown = capsys.readouterr().out
        tables = run("--finished", "--tables", "2", "--write", "larger")
    assert before["2"] == tables["2"] == former["2"]
    assert (
        "## Table 2, an object and a style\n\n1 case, 1 image per row, 1 different set, 1 different object,"
        in shown
    )  # that of run 0; run 1 has none
    assert "## Table 3, random pairs\n\nNo case is finished. Give the options of the run" in shown
    assert "## Table 4, random triples\n\nNot measured in this world" in shown
    assert "Nothing is written. `--write larger` writes" in shown


def test_a_smaller_run_replaces_no_table(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    former = run("--tables", "2", "--gates")
    assert run("--tables", "2", "--gates", "--runs", "0") == former
    shown = capsys.readouterr().out
    assert "Not written: table '2' of tiny in metrics/paper_bench.json has 2 cases, 2 images" in shown
    smaller = run("--tables", "2", "--gates", "--runs", "0", "--write", "all")
    assert smaller["2"]["cases"] == 1


def test_figure_2_shows_both_halves(run: Any, tmp_path: Path) -> None:
    run("--tables", "--figure", "2")
    assert Image.open(tmp_path / "docs/images/paper-tiny-figure-2.png").height > 500
