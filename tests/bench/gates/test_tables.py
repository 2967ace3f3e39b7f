"""The tables of `python -m bench.gates`: paired differences and intervals by objects and styles."""

import numpy as np
import pytest

from autolora.experiments.cases import PromptCase
from bench.gates.tables import choice_table, compare, loss_table, situation_table


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
    by_object, mixed = np.repeat([0.0, 0.0, 1.0, 1.0], 4)[None], np.tile([0.0, 1.0, 1.0, 0.0], 4)
    mixed = mixed.reshape(4, 4)
    mixed[::2] = 1 - mixed[::2]  # half of each object's pairs, and half of each style's
    rows = compare({"masked sum": by_object, "mixed": mixed.reshape(1, 16)}, CASES, "masked sum")
    widths = {method: row["high"] - row["low"] for method, row in rows.items()}
    assert widths["masked sum"] > 1.5 * widths["mixed"] > 0


def test_methods_are_compared_pair_by_pair() -> None:
    sums = np.tile([0.0, 1.0], 8)[None]
    better = np.stack([sums[0] + 0.25, sums[0] + 0.15])
    rows = compare({"masked sum": sums, "full, distilled": better}, CASES, "masked sum")
    assert "difference" not in rows["masked sum"]
    assert rows["full, distilled"]["difference"] == pytest.approx({"value": 0.2, "low": 0.2, "high": 0.2})
    assert rows["full, distilled"]["by_seed"] == pytest.approx([0.75, 0.65])
    table = situation_table("right relevance", {"pairs": 16, "images": 2, "methods": rows})
    assert "| full, distilled | 0.70 [" in table and "| 0.75 0.65 | +0.20 [+0.20, +0.20] |" in table


def test_losses_and_choices_are_listed() -> None:
    facts = {"held_out": {"0": 0.3, "50": 0.2, "100": 0.4}, "best_step": 50, "unseen": 0.31}
    untrained = {"held_out": {}, "best_step": 0, "unseen": 0.3}
    table = loss_table({"full, Eq. 10": {"0": facts}, "untrained": {"0": untrained}})
    assert "| full, Eq. 10 | 0 | 0.3000 | 0.2000 | 50 | 0.4000 | 0.3100 |" in table
    assert "| untrained | 0 |  |  |  |  | 0.3000 |" in table
    choice = choice_table({"paper, Eq. 10": {"recipes": {"first": 0.2, "second": 0.4}, "chosen": "second"}})
    assert "| paper, Eq. 10 | second | 0.40 | chosen |" in choice and "| first | 0.20 |  |" in choice
