"""docs/results.md: it is what the command writes from the committed numbers."""

from pathlib import Path

from bench.results import PAGE, TABLES, render, table

ROOT = Path(__file__).parents[2]


def test_the_page_is_written_from_the_numbers() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == render(ROOT), "run `python -m bench.results`"


def test_a_table_states_a_number_with_its_interval() -> None:
    header, lines = TABLES["fusion"]
    row = {"value": 0.7, "low": 0.451, "high": 0.9}
    numbers = {name: row for names in lines.values() for name in names}
    first, _, base, *_ = table("fusion", numbers).splitlines()
    assert first == f"| {' | '.join(header)} |"
    assert base == "| base | 0.70 [0.45, 0.90] | 0.70 [0.45, 0.90] | 0.70 [0.45, 0.90] | 0.70 [0.45, 0.90] |"
