"""bench.spoiled_captions on a synthetic benchmark: what it does to captions, and what follows."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.matching.hybrid import CaptionRule
from autolora.metrics.benchmark import Benchmark, EmbeddedCaption
from autolora.params import EvaluationParams
from bench import spoiled_captions as spoiled
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1,), bootstrap=100, seed=0, themes=None)
TRAINING = (1, 3, 5)


def pool() -> tuple[Benchmark, list[EmbeddedCaption]]:
    """Return a benchmark of hybrid vectors and its captions."""
    captions: list[EmbeddedCaption] = []
    benchmark = synthetic_benchmark(
        noise=0.05, is_captioned=lambda caption: not captions.append(caption), training=TRAINING
    )
    vectors = 0.1 * benchmark.adapter_vectors
    return replace(
        benchmark, adapter_vectors=vectors, rule=CaptionRule(np.zeros(vectors.shape[1]), 0.2)
    ), captions


def test_captions_are_as_they_were_before_they_are_spoiled() -> None:
    benchmark, captions = pool()
    sums = spoiled.with_captions(benchmark, captions).captions
    assert np.allclose(sums.by_adapter, benchmark.captions.by_adapter)
    assert sums.by_rendering.keys() == benchmark.captions.by_rendering.keys()


@pytest.mark.parametrize("count", [0, 1])
def test_only_unseen_adapters_lose_captions(count: int) -> None:
    benchmark, captions = pool()
    unseen = spoiled.unseen_adapters(benchmark)
    kept = spoiled.keep_first(captions, unseen, count)
    assert unseen == [row for row in range(12) if row not in TRAINING]
    numbers = np.bincount([caption.adapter for caption in kept], minlength=12)
    assert numbers.tolist() == [4 if row in TRAINING else count for row in range(12)]


def test_every_unseen_adapter_gets_the_captions_of_another() -> None:
    benchmark, captions = pool()
    exchanged = spoiled.exchange(captions, spoiled.unseen_adapters(benchmark), seed=0)
    givers: dict[int, set[int]] = {}
    for before, after in zip(captions, exchanged, strict=True):
        assert (before.image, before.vector is after.vector) == (after.image, True)
        givers.setdefault(after.adapter, set()).add(before.adapter)
    assert all(len(group) == 1 for group in givers.values()) and len(givers) == 12
    assert [row for row, group in givers.items() if row in group] == list(TRAINING)


def test_derangement_of_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least two"):
        spoiled.derangement(1, np.random.default_rng(0))


def test_hybrid_is_as_good_as_the_weights_if_captions_are_spoiled() -> None:
    benchmark, captions = pool()
    tables = spoiled.compare(benchmark, captions, PARAMS)
    assert list(tables) == [
        f"{case}, {index}" for case in ("right", "one", "none", "exchanged") for index in spoiled.INDEXES
    ]
    for methods in tables.values():
        assert methods["hybrid"]["value"] == methods["weights alone"]["value"] == 1.0
    assert tables["none, unseen index"]["caption centroid"]["value"] == 0.0
    assert tables["exchanged, unseen index"]["hybrid, all captions count"]["value"] < 0.7


def test_exchanged_captions_are_told_from_right_ones() -> None:
    found = spoiled.detect(*pool())
    assert (found["false_alarms"], found["right"], found["exchanged"]) == (0.0, 9, 27)
    assert found["auc"] > 0.8 and found["found"] > 0.6, "some get captions of the same theme"
    rows = {row.name: row for row in spoiled.headlines({}, found, "best")}
    assert rows["retrieval.exchanged_captions_auc"].goal == 0.95
    assert rows["retrieval.exchanged_captions_false_alarms"].better == "lower"
