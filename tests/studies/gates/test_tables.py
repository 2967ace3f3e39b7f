"""The tables of `python -m studies.gates`: paired differences and intervals by objects and styles."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.experiments.cases import PromptCase
from studies.gates.tables import SCORE, compare, groups_of, make_table


def pair(thing: str, style: str) -> PromptCase:
    return PromptCase(
        scenario="pair",
        prompt="",
        content="",
        adapters=(thing, style),
        themes=(thing, style),
        cluster="",
        unseen=2,
    )


CASES = [pair(thing, style) for thing in "abcd" for style in "wxyz"]


def test_pairs_of_one_object_are_not_independent() -> None:
    by_object, mixed = (
        np.repeat([0.0, 0.0, 1.0, 1.0], 4)[None],
        np.tile([0.0, 1.0, 1.0, 0.0], 4).reshape(4, 4),
    )
    mixed[::2] = 1 - mixed[::2]  # half of each object's pairs, and half of each style's
    rows = compare({"masked sum": by_object, "mixed": mixed.reshape(1, 16)}, CASES, "masked sum")
    widths = {method: row[SCORE]["high"] - row[SCORE]["low"] for method, row in rows.items()}
    assert widths["masked sum"] > 1.5 * widths["mixed"] > 0


def test_adapters_of_one_object_are_one_member() -> None:
    case = pair("a", "w")
    other, unknown = (
        replace(case, adapters=("b", "w"), themes=themes) for themes in (("a", "w"), (None, None))
    )
    assert groups_of(case) == groups_of(other) == (("object", "a"), ("style", "w"))
    assert groups_of(unknown) == (("object", "b"), ("style", "w"))


def test_methods_are_compared_pair_by_pair() -> None:
    sums = np.tile([0.0, 1.0], 8)[None]
    better = np.stack([sums[0] + 0.25, sums[0] + 0.15])
    shown = {"masked sum": sums, "full, distilled": better}
    table = make_table("Right relevance", shown, CASES, images=2, baseline="masked sum")
    assert (table["cases"], table["images per row"]) == (16, 32)
    baseline, entry = (table["rows"][method][SCORE] for method in shown)
    assert "difference" not in baseline and entry["compared with"] == "masked sum"
    assert entry["difference"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})
    assert entry["runs"] == pytest.approx([0.75, 0.65])


def test_recipes_are_not_compared() -> None:
    rows = compare({"first": np.zeros((1, 16)), "second": np.ones((1, 16))}, CASES, None)
    assert [rows[name][SCORE]["value"] for name in rows] == [0, 1] and "difference" not in rows["first"][
        SCORE
    ]
