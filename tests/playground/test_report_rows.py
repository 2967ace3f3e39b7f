"""Rows of the playground's report: their statistics against known values, their floors and goals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autolora.metrics.numbers import rounded, to_json
from playground import report
from playground.report_rows import (
    Row,
    binomial_row,
    clustered_row,
    exact_interval,
    macro_row,
    worst_row,
)


@pytest.mark.parametrize(
    ("num_hits", "n", "low", "high"),
    [(8, 10, 0.4439, 0.9748), (0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (490, 500, 0.9635, 0.9904)],
)
def test_exact_interval_is_clopper_pearson(num_hits: int, n: int, low: float, high: float) -> None:
    assert exact_interval(num_hits, n) == pytest.approx((low, high), abs=1e-4)


def test_macro_row_weights_themes_equally_and_worst_row_names_the_theme() -> None:
    themes = {"neon": [np.ones(8), np.zeros(8)], "clay": [np.ones(8)], "glitch": [np.ones(8)] * 3}
    row = macro_row("style LoRAs: macro", themes, 1 / 3, 0)
    assert (row.value, row.n) == (pytest.approx((0.5 + 1 + 1) / 3), 48)
    assert row.interval == (pytest.approx(2 / 3), 1.0)
    worst = worst_row("style LoRAs: worst", themes, 1 / 3, 0)
    assert (worst.name, worst.worst_group) == ("style LoRAs: worst", "neon")
    assert (worst.value, worst.n, worst.interval) == (0.5, 16, (0.0, 1.0))
    assert not worst.fails and replace(worst, value=0.49).fails
    assert macro_row("style LoRAs: macro", themes, 1 / 3, 0) == row


def test_interval_is_exact_if_all_hits_are_equal() -> None:
    themes = {"snow": [np.ones(8)] * 2}
    repos = ["a", "b"] * 8
    assert macro_row("scene LoRAs: macro", themes, 1, 0).interval == exact_interval(16, 16)
    for hits, num_hits in ((np.ones(16), 16), (np.zeros(16), 0)):
        row = clustered_row("VLM captions: style", hits, repos, 0.5, 0)
        assert row.interval == exact_interval(num_hits, 16)


def test_interval_covers_the_variation_within_one_lora() -> None:
    row = macro_row("scene LoRAs: macro", {"snow": [np.repeat([1.0, 0.0], 4)]}, 1, 0)
    assert row.interval[0] < 0.5 < row.interval[1]


def test_binomial_row() -> None:
    row = binomial_row("oracle: object", np.array([1.0, 0.0]), 0.5, 0)
    assert (row.value, row.chance) == (0.5, 0.5)


def make_row(name: str, value: float) -> Row:
    return Row(name=name, value=value, interval=(0.1, 0.9), n=9, chance=0.25, seed=7)


def test_row_has_floor_and_goal_and_is_written_completely() -> None:
    row = make_row("base: object", 0.79)
    assert row.fails and not make_row("base: object", 0.8).fails
    assert not make_row("VLM captions: background", 0.0).fails
    assert json.loads(to_json(rounded(report.entry(row)))) == {
        "value": 0.79, "interval": [0.1, 0.9], "n": 9, "chance": 0.25, "floor": 0.8, "goal": 0.95, "seed": 7,
    }  # fmt: skip


def test_table_marks_rows_below_their_floor() -> None:
    values = {"base: object": 0.5, "base: colour": 0.95, "oracle: style": 1.0, "x": 0.1}
    table = report.table([make_row(name, value) for name, value in values.items()])
    assert table.row_count == 4
    assert list(table.columns[-1].cells) == ["[red]below", "[yellow]floor", "[green]goal", ""]
