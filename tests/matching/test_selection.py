"""Selection by matching pursuit: one adapter per concept, none if nothing fits, and relevance instead of cosines."""

import numpy as np
import pytest

from autolora.matching.relevance import Relevance
from autolora.matching.selection import Candidates, Match, pursue, relevances, select
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

STEEP = Relevance(np.array([[100.0, 0.0, -40.0], [100.0, 0.0, -60.0]]))
"""relevant from a cosine of .4 by weights alone, of .6 with captions"""


def unit(rows: Float64Array) -> Float64Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def selected(
    vectors: Float64Array, prompt: Float64Array, limit: int = 3, captions: bool = False
) -> list[int]:
    candidates = Candidates.all_of(vectors, np.full(len(vectors), captions))
    return [match.position for match in select(unit(prompt), candidates, STEEP, limit, 0.5)]


def by_cosine(cosines: Float64Array, uses_captions: BoolArray, remainder: float) -> Float64Array:
    return cosines


def weights_of(vectors: Float64Array) -> Candidates:
    return Candidates.all_of(vectors, np.zeros(len(vectors), dtype=np.bool_))


def test_one_adapter_of_each_concept_is_selected() -> None:
    """Two adapters of the first concept are nearer to the prompt than the only one of the second."""
    vectors = unit(np.array([[1, 0, 0.1], [1, 0, -0.1], [0, 1, 0], [0, 0, 1]]))
    prompt = np.array([0.9, 0.6, 0.05])
    assert set(np.argsort(-vectors @ prompt)[:2].tolist()) == {0, 1}
    assert selected(vectors, prompt) == [0, 2]
    assert selected(vectors, prompt, limit=1) == [0]


def test_nothing_is_selected_if_no_adapter_is_relevant() -> None:
    assert selected(np.eye(3)[:2], np.array([0.1, 0.2, 1.0])) == []
    assert selected(np.empty((0, 3)), np.array([1.0, 0.0, 0.0])) == []


def test_each_kind_of_vector_has_its_own_relevance() -> None:
    prompt = np.array([0.5, 0.0, 0.75**0.5])
    assert selected(np.eye(3)[:1], prompt) == [0]
    assert selected(np.eye(3)[:1], prompt, captions=True) == []
    both = select(prompt, Candidates.all_of(np.eye(3)[[0, 2]], np.array([False, True])), STEEP, 3, 0.5)
    assert [match.position for match in both] == [1, 0]
    less_cosine = unit(np.array([0.55, 0.0, 0.5]))  # .55 with captions is less relevant than .5 without
    order = select(less_cosine, Candidates.all_of(np.eye(3)[[0, 2]], np.array([True, False])), STEEP, 3, 0.0)
    assert [match.position for match in order] == [1, 0]


def test_a_prompt_that_equals_a_vector_leaves_nothing() -> None:
    assert selected(np.eye(3), np.array([1.0, 0.0, 0.0])) == [0]
    everything = list(pursue(np.array([1.0, 0.0, 0.0]), weights_of(np.eye(3)), by_cosine))
    assert [match.position for match in everything] == [0, 1, 2]
    assert [match.cosine for match in everything] == pytest.approx([1, 0, 0])


def test_cosines_are_those_with_the_rest_of_the_prompt() -> None:
    rng = np.random.default_rng(0)
    vectors, prompt = unit(rng.normal(size=(20, 6))), unit(rng.normal(size=6))
    matches: list[Match] = []
    for match in pursue(prompt, weights_of(vectors), by_cosine):
        before = vectors[[other.position for other in matches]]
        rest = prompt - np.linalg.pinv(before) @ before @ prompt if matches else prompt
        if len(matches) == 6:
            break  # six vectors span everything
        cosines = vectors @ rest / np.linalg.norm(rest)
        assert match.cosine == pytest.approx(cosines[match.position])
        assert match.cosine == pytest.approx(np.delete(cosines, [other.position for other in matches]).max())
        assert match.remainder == pytest.approx(np.linalg.norm(rest) if matches else 0.0)
        matches.append(match)
    assert len({match.position for match in matches}) == 6


def test_relevances_of_all_adapters_are_those_of_the_pursuit() -> None:
    vectors, prompt = np.eye(3), unit(np.array([3.0, 2.0, 0.1]))
    shy = Relevance(np.array([[10.0, -2.0, -4.0]] * 2))
    result = relevances(prompt, weights_of(vectors), shy)
    chosen = select(prompt, weights_of(vectors), shy, 3, 0.0)
    assert result[[match.position for match in chosen]] == pytest.approx([m.rank_value for m in chosen])
    remainder = np.hypot(*prompt[1:])
    first = 1 / (1 + np.exp(4 - 10 * prompt[0]))
    second = 1 / (1 + np.exp(4 + 2 * remainder - 10 * 2 / np.hypot(2, 0.1)))
    assert result[:2] == pytest.approx([first, second])


def test_only_candidates_are_selected() -> None:
    """The second concept's adapter is not among the candidates of the first step, and the third never is."""
    vectors, calls = np.eye(4), []

    def nearest(wanted: Float64Array) -> tuple[Int64Array, Float64Array]:
        calls.append(wanted)
        positions = np.array([0, 3]) if len(calls) == 1 else np.array([0, 1])
        return positions, vectors[positions] @ wanted

    prompt = unit(np.array([1.0, 1.0, 1.0, 0.0]))
    candidates = Candidates(vectors, np.zeros(4, dtype=np.bool_), nearest)
    assert [match.position for match in select(prompt, candidates, STEEP, 3, 0.5)] == [0, 1]
    assert len(calls) == 3 and calls[1] == pytest.approx(unit(np.array([0.0, 1.0, 1.0, 0.0])))
