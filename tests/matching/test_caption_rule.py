"""Whether captions contradict weights."""

import numpy as np
import pytest

from autolora.matching.caption_rule import CaptionRule, directions

X, Y = np.eye(2)


def rule(margin: float) -> CaptionRule:
    return CaptionRule(np.zeros(2), margin)


def test_the_longer_the_prediction_the_better_captions_must_agree() -> None:
    lengths = np.array([0.1, 0.2, 0.3])
    weights, captions = lengths[:, None] * X, np.stack([X + Y] * 3)
    cosine = 2**-0.5
    assert rule(0.1).agreements(weights, captions) == pytest.approx([cosine] * 3)
    assert rule(0.1).expected(weights, captions) == pytest.approx(0.1 + lengths)
    strict = rule(cosine - 0.25)
    agrees = strict.agreements(weights, captions) >= strict.expected(weights, captions)
    assert agrees.tolist() == [True, True, False]


def test_captions_that_are_predicted_exactly_agree_however_skewed_the_training_adapters_are() -> None:
    rng = np.random.default_rng(0)
    themes = directions(rng.normal(size=(11, 32)))
    targets = themes[[0] * 35 + list(range(1, 11))]
    mean = targets.mean(axis=0)
    exact = CaptionRule(mean, margin=-1e-9)
    weights = targets - mean
    assert (exact.agreements(weights, 3 * targets) >= exact.expected(weights, 3 * targets)).all()
    swapped = 3 * targets[::-1]
    counts = exact.agreements(weights, swapped) >= exact.expected(weights, swapped)
    assert not counts[:10].any() and not counts[-10:].any()
