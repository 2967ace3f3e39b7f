"""docs/results.md: it is what the command writes from the committed numbers."""

import re
from pathlib import Path

from autolora.metrics.summary import read_numbers
from bench.results import PAGE, TABLES, quote, render, table

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


def test_a_number_that_nothing_measures_is_a_dash() -> None:
    _, lines = TABLES["retrieval"]
    row = {"value": 0.7, "low": None, "high": None}
    numbers = {name: row for names in lines.values() for name in names if name}
    assert table("retrieval", numbers).splitlines()[2] == "| search | 0.70 | – | – | – | – | 0.70 |"


def test_the_readme_quotes_the_numbers() -> None:
    numbers, readme = read_numbers(ROOT), (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme[readme.index("## How well it works") :].split("\n## ")[0]
    quoted = (
        "retrieval.theme_r_at_1_unseen",
        "retrieval.caption_centroid_theme_r_at_1_unseen",
        "retrieval.weights_theme_r_at_1_unseen",
        "retrieval.pca_of_weights_theme_r_at_1_unseen",
        "retrieval.selection_single_exact",
        "retrieval.search_single_exact",
        "fusion.end_to_end_selection_trigger_words_both_shown",
        "fusion.end_to_end_right_adapters_trigger_words_both_shown",
    )
    assert re.findall(r"[01]\.\d\d \[.*?\]", section) == [quote(numbers[name]) for name in quoted]
    chance = f"| {numbers['retrieval.random_theme_r_at_1_unseen']['value']:.2f} |"
    assert section.count(chance) == 2
