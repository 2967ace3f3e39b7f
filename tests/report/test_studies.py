"""The tables, curves and figures of the studies on the page."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from PIL import Image

from autolora.metrics.study import Interval
from autolora.report.page import assemble
from autolora.report.studies import read_studies
from autolora.report.study_curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from tests.report.parsed_page import Page, read_page
from tests.support.report_root import HOSTILE, write_pool
from tests.support.study_tables import write_studies


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_studies(tmp_path)
    return tmp_path


def test_rows_are_sorted_and_differences_without_zero_are_marked(root: Path) -> None:
    paper, gates = read_studies(root)
    assert [world.name for world in paper.worlds] == ["playground", "large"]
    view = paper.worlds[0].tables[0]
    assert view.reference == "direct" and view.curves is None
    assert [row.name for row, _, _ in view.lines] == ["velocity", f"gated {HOSTILE}", "direct", "base"]
    assert [line and line.verdict for _, _, line in view.lines] == ["better", "", None, "worse"]
    assert [line.name for _, line, _ in view.lines] == [row.name for row, _, _ in view.lines]
    assert [view.table.title for view in gates.worlds[0].tables] == ["Right relevance"]
    assert gates.worlds[0].figure is None


def test_numbers_of_loaded_adapters_are_curves(root: Path) -> None:
    view = read_studies(root)[0].worlds[0].tables[1]
    assert view.reference is None and view.curves is not None
    direct, selected = view.curves.curves
    assert (direct.title, direct.first, direct.last) == ("direct", "1.00", "0.12")
    assert selected.title == "direct, selected"
    first, second, last = direct.points
    assert (first.x, last.x) == (LEFT, WIDTH - RIGHT)
    assert second.x == pytest.approx(LEFT + (last.x - first.x) / 7, abs=0.1)
    assert first.y == first.high_y == TOP  # 1, and an interval that ends above it
    assert second.y == (TOP + HEIGHT - BOTTOM) / 2 and second.high_y < second.y < second.low_y
    assert "direct: 1.00 with 1, 0.50 with 2, 0.12 with 8; direct, selected: 0.80 with 1" in view.curves.text


def test_a_figure_keeps_its_titles_readable(root: Path) -> None:
    large = root / "docs" / "images" / "paper-large-figure-2.png"
    Image.new("RGB", (600, 2000), "gray").save(large)
    figures = [world.figure for world in read_studies(root)[0].worlds]
    assert [(figure.width, figure.height) for figure in figures if figure] == [(300, 200), (600, 2000)]


@pytest.mark.parametrize("names", [["direct, 1 loaded", "base"], ["direct, 1 loaded", "velocity, 1 loaded"]])
def test_other_rows_are_no_curves(root: Path, names: list[str]) -> None:
    path = root / "metrics" / "paper_bench.json"
    content = json.loads(path.read_text())
    table = content["playground"]["single"]
    some = table["rows"]["direct, 1 loaded"]
    table["rows"] = dict.fromkeys(names, some)
    path.write_text(json.dumps(content))
    assert read_studies(root)[0].worlds[0].tables[1].curves is None


def test_missing_files_have_the_command_that_writes_them(tmp_path: Path) -> None:
    paper, gates = read_studies(tmp_path)
    assert paper.worlds == gates.worlds == ()
    assert paper.problems == ("metrics/paper_bench.json does not exist: `python -m bench.paper` writes it.",)
    assert gates.problems == ("metrics/gates_bench.json does not exist: `python -m bench.gates` writes it.",)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"playground": {"right": {"pairs": 36, "methods": {}}}}, "table 'right' of playground is left out"),
        ({"playground": {"right": []}}, "run the command again"),
        (3, "not valid JSON"),
    ],
)
def test_a_file_of_another_layout_has_a_message_and_the_other_study_its_tables(
    root: Path, content: Any, problem: str
) -> None:
    (root / "metrics" / "gates_bench.json").write_text(json.dumps(content))
    paper, gates = read_studies(root)
    assert len(paper.worlds) == 2 and not paper.problems
    assert gates.worlds == () and [problem in text for text in gates.problems] == [True]


def test_a_table_of_another_layout_is_named_beside_the_others(full: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    path = root / "metrics" / "paper_bench.json"
    content = json.loads(path.read_text())
    content["playground"]["3"] = {"pairs": 36, "methods": {}}
    path.write_text(json.dumps(content))
    assemble(root)
    text = read_page(root)
    assert "paper_bench.json: table &#39;3&#39; of playground is left out" in text
    assert text.count("<summary>Table 3, random pairs <small") == 1  # that of the other world
    assert "One adapter with others" in text


def test_numbers_without_an_interval_have_no_mark(root: Path) -> None:
    path = root / "metrics" / "paper_bench.json"
    content = json.loads(path.read_text())
    for table in content["playground"].values():
        for scores in table["rows"].values():
            for entry in scores.values():
                for number in (entry, entry.get("difference", {})):
                    number |= {"low": None, "high": None}
    path.write_text(json.dumps(content))
    pairs, loaded = read_studies(root)[0].worlds[0].tables
    assert [line and line.verdict for _, _, line in pairs.lines] == ["", "", None, ""]
    assert {(line.low, line.high_at - line.low_at) for _, line, _ in pairs.lines} == {(None, 0)}
    assert loaded.curves is not None
    assert all(point.low_y == point.y == point.high_y for point in loaded.curves.curves[0].points)
    write_pool(root, adapters=2)
    section = assemble(root).read_text().partition('id="studies"')[2]
    after = section[section.index("The paper’s experiments: playground") :]
    playground = after[: after.index("The paper’s experiments: large")]
    assert "▲" not in playground and "[0." not in playground and "0.80" in playground


def test_the_page_shows_every_table_of_every_world(full: Path) -> None:
    text = read_page(full)
    section = text[text.index('id="studies"') : text.index('id="refused"')]
    assert section.count("<summary>Table 3, random pairs <small") == 2
    for phrase in (
        "The paper’s experiments: playground", "The paper’s experiments: large", "What a learned gate adds: playground",
        "7 cases, 70 images per row, 2026-01-02; highest 0.80: velocity",
        "<span>all shown</span>", "<span>less direct</span>", "▲", "▼", "better than direct", "worse than direct",
        "<small class=\"than\">less direct, 8 loaded</small>", f"gated {escape(HOSTILE)}",
        'aria-label="all shown by the number of loaded adapters. direct: 1.00 with 1',
    ):  # fmt: skip
        assert phrase in section, phrase
    assert section.count("Figure 2 of the paper") == 1
    assert re.search(
        r'<img src="data:image/webp;base64,[^"]+" alt="Figure 2 in the world playground', section
    )


def test_the_page_says_what_writes_the_studies(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    text = assemble(tmp_path).read_text()
    assert "metrics/paper_bench.json does not exist: python -m bench.paper writes it." in text
    Page(text)


def test_a_file_of_another_layout_does_not_stop_the_page(full: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    (root / "metrics" / "paper_bench.json").write_text('{"playground": {"3": {"rows": {}}}}')
    assemble(root)
    text = read_page(root)
    assert "it is not as python -m bench.paper writes it" in text
    assert "What a learned gate adds: playground" in text


def test_a_table_of_equal_scores_has_no_highest_row(root: Path) -> None:
    view = read_studies(root)[0].worlds[0].tables[0]
    assert view.summary == "highest 0.80: velocity"
    score = Interval(value=0.001, low=0.0, high=0.002)
    rows = tuple(replace(row, score=score) for row in view.table.rows)
    assert replace(view, table=replace(view.table, rows=rows)).summary == "all rows 0.00"
    assert replace(view, table=replace(view.table, rows=rows[:1])).summary == "highest 0.00: velocity"
