"""The tables of docs/sealed.md are those of metrics/sealed.json."""

import json
import re
from collections.abc import Iterator

import pytest

from bench.processes import PROJECT

TABLES = json.loads((PROJECT / "metrics" / "sealed.json").read_text())["tables"]["retrieval"]
PROMPT_SETS = {"held-out themes": "described"}
"""column of the page -> set of prompts, for a column that both sets have"""
NUMBER = re.compile(r"[−+]?[\d.]+")


def read_cells() -> Iterator[tuple[str, str, str, str]]:
    """Yield metric, row, column and text of every cell of the tables of results."""
    corner, columns = "", []
    for line in (PROJECT / "docs" / "sealed.md").read_text().splitlines():
        first, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            corner = ""
        elif not corner:
            corner, columns = first, cells
        elif corner in ("R@1", "exact set") and not first.startswith("--"):
            yield from ((corner, first, column, cell) for column, cell in zip(columns, cells, strict=True))
        elif corner == "weights alone + corpus" and not first.startswith("--"):
            row = f"weights alone + {first}"
            yield from (("R@1", row, column, cell) for column, cell in zip(columns, cells, strict=True))


def find(metric: str, row: str, column: str) -> dict[str, float]:
    """Return an estimate of metrics/sealed.json."""
    names = (
        [PROMPT_SETS[column]]
        if column in PROMPT_SETS
        else [name for name in TABLES if column in TABLES[name]]
    )
    estimate: dict[str, float] = TABLES[names[0]][column][row][metric]
    return estimate


def to_numbers(text: str) -> list[float]:
    """Return the numbers of a cell."""
    return [float(number.replace("−", "-")) for number in NUMBER.findall(text)]


@pytest.mark.parametrize(("metric", "row", "column", "text"), list(read_cells()))
def test_cells_are_those_of_the_metrics(metric: str, row: str, column: str, text: str) -> None:
    cell = find(metric, row, column)
    if "(" in text:
        difference = cell["difference"]
        expected = [cell["value"], difference["value"], difference["low"], difference["high"]]
    else:
        expected = [cell["value"], cell["low"], cell["high"]][: len(to_numbers(text))]
    assert to_numbers(text) == pytest.approx(expected, abs=0.0051)


def test_all_tables_are_read() -> None:
    assert len(list(read_cells())) == 14 * 7 + 4 * 7 + 7 * 7
