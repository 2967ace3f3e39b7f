"""Relevance by parts and evidence, against loops and least squares; what a whole prompt adds to the order."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from autolora.matching.evidence import (
    PRIOR,
    WHOLE_CAPTIONS,
    Evidence,
    Lane,
    PartSearch,
    Reading,
    count_words,
    logistic,
    make_lanes,
    read_prompt,
    whole_prompt,
)
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array
from tests.support.tiny_sentences import WordSums, plain_language

COUNT, PARTS = 12, 5
WORDS = np.array([0.1, 0.2, 0.1, 0.8, 1.0])


def random_lanes(seed: int) -> list[Lane]:
    """Return three lanes of 12 adapters and 5 parts, in spaces of 6, 4 and 3 dimensions.

    Of weights, of any length, for some adapters; of captions for the others; of texts, which share words and are not
    all trusted, for some of both.
    """
    rng = np.random.default_rng(seed)
    described, told = rng.permutation(COUNT) < 5, rng.permutation(COUNT) < 6
    lanes = []
    for width, own in ((6, ~described), (4, described), (3, told)):
        vectors = rng.normal(size=(COUNT, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[~own] *= rng.integers(0, 2, size=(COUNT, 1))[~own]  # some have no vector in the other space
        parts = rng.normal(size=(PARTS, width)).astype(np.float32)
        lanes.append(Lane(vectors, own, parts, WORDS, np.append(rng.uniform(1, 9), rng.normal(size=3))))
    scales = rng.uniform(0.1, 3, COUNT).astype(np.float32)
    lanes[0] = replace(lanes[0], vectors=lanes[0].vectors / scales[:, None], scales=scales)
    trust = rng.uniform(-8, 8, COUNT).astype(np.float32)
    words = rng.random((PARTS, 2)).astype(np.float32), rng.integers(0, 2, (COUNT, 2)).astype(np.float32)
    lanes[2] = replace(lanes[2], trust=trust, shared=words)
    return lanes


def rests(lane: Lane, used: Sequence[int]) -> Float64Array:
    """Return what is left of the parts (P, d) of a lane if the vectors of used adapters explain all they can."""
    basis = (
        np.array([lane.axis(row) for row in used])
        .reshape(len(used), lane.wanted.shape[1])
        .T.astype(np.float64)
    )
    return np.array([part - basis @ np.linalg.lstsq(basis, part, rcond=None)[0] for part in lane.wanted])


def naive(lanes: Sequence[Lane], allowed: BoolArray, used: Sequence[int]) -> Float64Array:
    """Return log-odds (N, P) by loops over lanes, adapters and parts; -inf for those that must not be found."""
    odds = np.full((COUNT, PARTS), -np.inf)
    for adapter in np.flatnonzero(allowed).tolist():
        own = [lane for lane in lanes if lane.members[adapter]]
        for part in range(PARTS):
            if own and adapter not in used:
                odds[adapter, part] = PRIOR + sum(excess(lane, used, adapter, part) for lane in own)
    return odds


def excess(lane: Lane, used: Sequence[int], adapter: int, part: int) -> float:
    """Return by how much the log-odds of an adapter and a part exceed the prior, in one lane."""
    product = float(rests(lane, used)[part] @ lane.axis(adapter))
    a, b, c, d = lane.coefficients.tolist()
    words = float(lane.sizes[part])
    probability = 1 / (1 + math.exp(-(a * product + b * words + c * product * words + d)))
    if lane.trust is not None:
        probability /= 1 + math.exp(-float(lane.trust[adapter]))
    return math.log(1 + math.exp(-PRIOR) * probability / (1 - probability))


@pytest.mark.parametrize("seed", range(6))
def test_a_pursuit_is_that_of_loops_and_least_squares(seed: int) -> None:
    lanes = random_lanes(seed)
    allowed = np.random.default_rng(seed).random(COUNT) < (1.0 if seed % 2 else 0.7)
    search, used = PartSearch(lanes, allowed), list[int]()
    for match in PartSearch(lanes, allowed).pursue():
        odds = naive(lanes, allowed, used)
        assert search.log_odds() == pytest.approx(odds, abs=2e-3)
        assert odds[match.position, match.part] == pytest.approx(odds.max(), abs=2e-3)
        assert match.relevance == pytest.approx(float(logistic(odds.max())), abs=2e-3)
        product = rests(lanes[1], used)[match.part] @ lanes[1].axis(match.position)
        assert search.product(match.position, match.part, lane=1) == pytest.approx(product, abs=1e-4)
        used.append(match.position)
        search.use(match.position)
    assert sorted(used) == np.flatnonzero(allowed).tolist(), "each adapter once, and none that is masked"


@pytest.mark.parametrize("case", ["no lane", "no adapter", "all masked", "a lane without members"])
def test_without_adapters_nothing_is_found(case: str) -> None:
    first, *others = random_lanes(0)[1:]
    count = 0 if case in ("no lane", "no adapter") else COUNT
    nobody = replace(first, vectors=first.vectors[:count], members=np.zeros(count, np.bool_))
    lanes = {"no lane": [], "no adapter": [nobody], "all masked": [first, *others]}.get(case, [nobody])
    search = PartSearch(lanes, np.full(count, case == "a lane without members"))
    assert np.isneginf(search.log_odds()).all() and len(search.log_odds()) == count
    assert list(search.pursue()) == []


def test_equal_adapters_leave_nothing_for_each_other() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32)[:1], 3, axis=0)
    lane = Lane(vectors, np.ones(3, np.bool_), vectors[:1] * 5, WORDS[:1], np.array([1.0, 0.0, 0.0, 0.0]))
    first, second, third = PartSearch([lane], np.ones(3, np.bool_)).pursue()
    assert [match.position for match in (first, second, third)] == [0, 1, 2]
    assert first.relevance > 0.99 and second.relevance == third.relevance < 0.55
    assert lane.parts.tolist() == [[5.0, 0.0, 0.0]], "the lane is as it was"


def lane_of(log_odds: float, trust: float | None = None) -> Lane:
    """Return a lane of one adapter and one part that gives these log-odds."""
    one = np.ones((1, 1), np.float32)
    trusted = None if trust is None else np.array([trust], np.float32)
    return Lane(one, np.ones(1, np.bool_), one, np.zeros(1), np.array([0.0, 0.0, 0.0, log_odds]), trusted)


def relevance_of(*lanes: Lane) -> float:
    (match,) = PartSearch(lanes, np.ones(1, np.bool_)).pursue()
    return match.relevance


def test_evidence_adds_up_and_what_is_silent_costs_nothing() -> None:
    sure, half, silent = lane_of(3.0), lane_of(-0.5), lane_of(-9.0)
    assert relevance_of(sure, silent) == pytest.approx(relevance_of(sure), abs=1e-3)
    assert relevance_of(half) < 0.45 and relevance_of(half, half) > 0.85
    assert relevance_of(lane_of(-9.0)) == pytest.approx(float(logistic(np.array(PRIOR))), abs=1e-3)


def test_evidence_counts_as_far_as_it_is_trusted() -> None:
    certain, doubted = relevance_of(lane_of(8.0, 30.0)), relevance_of(lane_of(8.0, 0.0))
    assert certain == pytest.approx(relevance_of(lane_of(8.0)), abs=1e-4)
    assert doubted == pytest.approx(0.5, abs=0.03) and relevance_of(lane_of(8.0, -8.0)) < 0.06


def test_words_of_a_part_count_up_to_ten() -> None:
    assert count_words(["neon", "a neon  cat", "w " * 10, "w " * 30]) == pytest.approx([0.1, 0.3, 1.0, 1.0])


SENTENCES = WordSums(128)
LANGUAGE = replace(plain_language(SENTENCES), everyday_length=1.0)


def evidence_of(captions: Sequence[str], texts: Sequence[str], trust: float = 30.0) -> Evidence:
    """Return the evidence of adapters with one caption and one text each; "" is none."""

    def vectors(space: Any, said: Sequence[str]) -> Float32Array:
        found = [space.mean(SENTENCES.encode([text] if text else [])) for text in said]
        return np.array(found, np.float32)

    return Evidence(
        SENTENCES.encode(["neon"] * len(captions)),
        vectors(LANGUAGE.captions, captions),
        vectors(LANGUAGE.texts, texts),
        SENTENCES.encode(list(texts)) * np.array([bool(text) for text in texts])[:, None],
        np.full(len(captions), trust, np.float32),
        pa.array([text.split() for text in texts], pa.list_(pa.string())),
    )


def reading_of(prompt: str) -> Reading:
    return read_prompt(prompt, LANGUAGE, SENTENCES.encode, SENTENCES.encode)


def test_weights_are_compared_if_no_captions_count() -> None:
    lanes = make_lanes(reading_of("neon"), evidence_of(["chalk", "", ""], ["", "pixel", ""]), LANGUAGE)
    assert [lane.members.tolist() for lane in lanes] == [
        [False, True, True], [True, False, False], [False, True, False],
    ]  # fmt: skip
    by_weights, by_captions, by_texts = lanes
    assert by_weights.scales is not None and by_captions.trust is None and by_texts.trust is not None
    assert make_lanes(reading_of("neon"), evidence_of(["chalk"], [""]), LANGUAGE)[0].trust is None
    assert make_lanes(reading_of("neon"), replace(evidence_of([""], [""]), weights=None), LANGUAGE) == []


def test_weights_of_adapters_with_drawings_count_at_even_odds_beside_captions() -> None:
    evidence = replace(evidence_of(["chalk", "neon", ""], [""] * 3), drawn=np.array([True, False, True]))
    lanes = make_lanes(reading_of("neon"), evidence, LANGUAGE)
    members = [[False, False, True], [True, False, False], [True, True, False]]
    assert [lane.members.tolist() for lane in lanes] == members
    drawn, undrawn = (
        make_lanes(reading_of("neon"), each, LANGUAGE) for each in (evidence, replace(evidence, drawn=None))
    )
    both, captions = (PartSearch(each, np.ones(3, np.bool_)).log_odds()[:, 0] for each in (drawn, undrawn))
    assert (
        captions[0] < both[0] < 0.1 and both[0] - captions[0] > 2
    )  # these weights say neon, this caption does not
    assert both[1:].tolist() == captions[1:].tolist()


def test_weights_are_read_only_if_they_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(texts: Sequence[str]) -> Float32Array:
        raise AssertionError("the text encoder of the weights was asked")

    reading = read_prompt("neon", LANGUAGE, SENTENCES.encode, refuse)
    assert len(make_lanes(reading, evidence_of(["chalk"], [""]), LANGUAGE)) == 1


def test_the_whole_prompt_orders_by_captions_or_texts_and_leaves_the_others_where_they_are() -> None:
    prompt = "a whale drawn with chalk on a neon wall"
    evidence = evidence_of([prompt, "mosaic", "", ""], ["", "", prompt, ""])
    added = whole_prompt(reading_of(prompt), evidence)
    assert added[0] > 0 > added[1] and added[3] == 0 and np.abs(added).max() <= 2 * WHOLE_CAPTIONS
    by_texts = evidence_of(["", ""], [prompt, "mosaic"])
    doubted = replace(by_texts, trust=np.array([-2.0, 30.0], np.float32))
    trusted, untrusted = (whole_prompt(reading_of(prompt), each) for each in (by_texts, doubted))
    assert 0 < untrusted[0] < 0.2 * trusted[0] and untrusted[1] == pytest.approx(trusted[1])
    nothing = evidence_of(["", ""], ["", ""])
    assert whole_prompt(reading_of(prompt), nothing).tolist() == [0, 0]
