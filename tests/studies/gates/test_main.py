"""`python -m studies.gates` in a tiny world."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.metrics.summary import read_numbers
from studies.gates import __main__ as command
from studies.gates import collision
from studies.gates.cells import KEPT, RATES
from studies.gates.images import PLAIN, Results
from studies.tables import LOSSES, read_study
from tests.support import paper_world

SMALL = ("--seeds", "0", "--choice-pairs", "1", "--pairs", "1", "--images", "1")
SITUATIONS = ("--situations", "right", "colliding")
CELLS = ("--gates", "untrained", "scalar, Eq. 10", *SITUATIONS)


@pytest.fixture(scope="module")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def run(tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the command beside the world, and returns the tables as they are stored."""

    def call(*options: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        command.main(["--world", str(tiny_world), "--name", "tiny", *SMALL, *options])
        return dict(json.loads((tmp_path / command.RESULTS).read_text())["tiny"])

    return call


def test_tables_are_written_and_drawn_once(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = run(*CELLS)
    assert {*stored} == {"choice", "right", "colliding", LOSSES}
    assert {*stored[LOSSES]["gates"]} == {"untrained", "scalar, Eq. 10"}
    tables = read_study(tmp_path / command.RESULTS, command.COMMAND).worlds["tiny"]
    rows = {row.name: row for row in tables["right"].rows}
    assert {*rows} == {*PLAIN, "untrained", "scalar, Eq. 10"}
    assert {row.reference for row in rows.values() if row.difference} == {PLAIN[0]}
    assert (tables["right"].cases, tables["right"].images, tables["choice"].images) == (1, 1, 2)
    assert len(tables["choice"].rows) == len(KEPT) * len(RATES)
    shown = capsys.readouterr().out
    assert "## Right relevance" in shown and "## Choice of the recipes" in shown and "## Losses" in shown
    assert read_numbers(tmp_path) == {}  # only the whole study of the playground has headline numbers
    monkeypatch.setattr(Results, "_draw", None)  # drawing again would fail
    monkeypatch.setattr(collision, "interaction", None)  # and so would computing which adapters collide
    before = (tmp_path / command.RESULTS).stat().st_mtime_ns
    assert run(*CELLS, "--finished") == stored
    assert "## Right relevance" in (shown := capsys.readouterr().out) and "Nothing is written." in shown
    assert (tmp_path / command.RESULTS).stat().st_mtime_ns == before
    assert run("--gates", "untrained", *SITUATIONS) == stored
    assert (
        "table 'right' of tiny in metrics/gates_bench.json has 1 case, 1 image per row, 5 rows, 1 score, 1 run,"
        in (shown := capsys.readouterr().out)
    )
    assert "this one has 1 case, 1 image per row, 4 rows" in shown
    assert {*run("--gates", "untrained", *SITUATIONS, "--write", "all")["right"]["rows"]} == {
        *PLAIN, "untrained"
    }  # fmt: skip


def test_unfinished_tables_name_the_options_of_the_run(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError):
        run("--gates", "untrained", "paper, Eq. 10", "--situations", "many", "--finished")
    assert 'is not finished: "paper, Eq. 10".\n' in (shown := capsys.readouterr().out)
    assert "Give the options of the run, which decide its cases: --pairs, --images" in shown


def test_a_report_on_what_is_finished_does_not_compute_which_adapters_collide(
    run: Any, tiny_world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--gates", "untrained", "--situations", "right")
    (tiny_world / command.CACHE / "collisions.jsonl").unlink(missing_ok=True)
    monkeypatch.setattr(collision, "interaction", None)
    run("--gates", "untrained", *SITUATIONS, "--finished")
    assert "## Right relevance" in (shown := capsys.readouterr().out)
    assert "## colliding\n\nThe masked sum, or for `colliding` the choice of its pairs, is not" in shown


def test_the_whole_study_of_the_playground_has_headline_numbers(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "is_default", lambda options: True)
    run("--gates", "untrained", *SITUATIONS)
    references = {f"fusion.gates_{table}_both_shown_masked_sum" for table in ("right", "colliding")}
    assert references <= {*read_numbers(tmp_path)}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], True), (["--world", "/usr"], False),
        (["--world", "/usr", "--name", "playground"], True), (["--name", "large"], False), (["--finished"], False),
        (["--pairs", "12"], False), (["--gates", "untrained"], False), (["--write", "all"], True),
    ],
)  # fmt: skip
def test_only_the_whole_study_of_the_playground_is_the_default(options: list[str], expected: bool) -> None:
    assert command.is_default(command.read_options(options)) == expected
