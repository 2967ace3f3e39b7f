"""The measurement of searches by images: what is left out, chance, and paired estimates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.lora.sketch import Sketch
from bench.concept_pools import Member
from bench.image_queries import GALLERIES, ImageQuery, Searches
from bench.image_scores import Scores, align, relative
from bench.image_search import CHANCE, COMBINED, REFERENCE, WHOLE, chance, find, measure, to_markdown, weigh
from tests.support.small_root import params

THEMES = ("cat", "cat", "neon", "neon", "cat", "neon")
"""of the adapters; the last two are unseen"""
ALL = np.ones(len(THEMES), dtype=bool)


def make_member(number: int, theme: str) -> Member:
    generator = torch.Generator().manual_seed(number)
    values = torch.randn(3, 4, 4, generator=generator)
    family = "f0" if number == 1 else f"f{number}"
    return Member(f"{number}", family, theme, Sketch(values, torch.ones(3, dtype=torch.bool)), ())


def make_query(theme: str, family: str) -> ImageQuery:
    return ImageQuery(
        source=GALLERIES if family else "drawings", path=Path("x.png"), sha256=theme, theme=theme,
        families=frozenset([family] if family else []), model="m", given="g",
    )  # fmt: skip


@pytest.fixture
def searches() -> Searches:
    queries = [
        make_query("cat", "f0"),
        make_query("neon", "f2"),
        make_query("cat", ""),
        make_query("cat", "f4"),
    ]
    members = [make_member(number, theme) for number, theme in enumerate(THEMES)]
    return Searches(queries, members, np.array([False] * 4 + [True] * 2))


def gradients(searches: Searches) -> Tensor:
    """Return the updates of the first adapters of each image's theme, with a part that they have in common."""
    by_theme = {member.theme: member.sketch.values for member in reversed(searches.members)}
    return torch.stack([by_theme[query.theme] + 2 for query in searches.queries])


def test_adapters_of_the_image_and_of_their_family_are_left_out(searches: Searches) -> None:
    assert searches.references().tolist() == [True, True, False, False]
    scores = Scores(np.tile(np.array([6.0, 5, 4, 3, 2, 1]), (4, 1)))
    asked, found = find(searches, scores, ALL, np.arange(4))
    assert (asked.tolist(), found.tolist()) == ([0, 1, 2, 3], [3, 3, 1, 1])
    asked, found = find(searches, scores, ~searches.unseen, np.arange(4))
    assert (asked.tolist(), found.tolist()) == (
        [1, 2, 3],
        [3, 1, 1],
    )  # the first theme has no other adapter there


def test_chance_is_exact(searches: Searches) -> None:
    asked = np.arange(3)
    expected = [1 / 4, 2 / 5, 3 / 6]
    np.testing.assert_allclose(chance(searches, ALL, asked, 1), expected)
    np.testing.assert_allclose(chance(searches, ALL, asked, 2), [1 / 2, 1 - 3 / 10, 1 - 3 / 15])
    np.testing.assert_allclose(chance(searches, ALL, asked, 5), 1)


def test_gradients_are_compared_with_updates_alone_and_relative_to_references(searches: Searches) -> None:
    values = gradients(searches)
    aligned = align(values, searches)
    assert aligned.shape == (4, 6) and aligned[:, [0, 2]].argmax(axis=1).tolist() == [0, 1, 0, 0]
    standardized = relative(values, torch.from_numpy(searches.references()), searches)
    np.testing.assert_allclose(standardized[searches.references()].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standardized[searches.references()].std(0), 1, atol=1e-4)


def test_tables_have_paired_differences_and_chance(searches: Searches) -> None:
    wrong = np.array(
        [[member.theme != query.theme for member in searches.members] for query in searches.queries]
    )
    rows = {
        REFERENCE: Scores(wrong.astype(float)),
        COMBINED: Scores(wrong.astype(float), 1.0 - wrong, weight=5),
    }
    content = measure(searches, {"column": rows}, params())
    cell = content[WHOLE]["drawings"]["column"]
    assert cell[REFERENCE]["R@1"]["value"] == 0 and cell[REFERENCE]["difference"]["value"] == 0
    assert cell[COMBINED]["R@1"]["value"] == cell[COMBINED]["difference"]["value"] == 1
    assert cell[CHANCE]["R@1"]["value"] == 0.5 and cell[CHANCE]["R@1"]["n"] == 1
    weights = weigh(searches, {"column": rows})["column"]
    assert weights["0.0"] == weights["0.7"] == 0 and content["weights"] == {"column": weights}
    text = to_markdown(content)
    assert f"| {COMBINED} | 1.00 [1.00, 1.00], 1.00, +1.00 [+1.00, +1.00] |" in text
