"""The retrieval benchmark on synthetic vectors whose relevant adapters are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autolora.matching.hybrid import CaptionRule
from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    Query,
    find_themes,
    relevant_by_level,
    sum_captions,
    unseen_index,
)
from autolora.metrics.comparison import (
    Searches,
    compare_in_unseen_index,
    compare_methods,
    index_health,
    search_index,
)
from autolora.metrics.methods import BASELINES, caption_centroid_scores, encoder_scores, hybrid_scores
from autolora.params import EvaluationParams
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=300, seed=0, themes=None)
ALL = slice(None)


def tables(benchmark: Benchmark) -> dict[str, Any]:
    """Return level -> tables of all methods."""
    relevant = relevant_by_level(benchmark)
    return compare_methods(benchmark, search_index(benchmark, relevant, PARAMS.ks), relevant, PARAMS)


def searches(benchmark: Benchmark) -> Searches:
    """Return the searches of the index."""
    return search_index(benchmark, relevant_by_level(benchmark), PARAMS.ks)


def test_good_encoder_beats_chance_by_more_than_its_interval() -> None:
    levels = tables(synthetic_benchmark())
    encoder = levels["theme"]["methods"]["encoder"]["R@1"]
    chance = levels["theme"]["methods"]["random"]["R@1"]
    assert encoder["value"] > 0.95
    assert chance["value"] == pytest.approx(3 / 12)
    assert levels["theme"]["differences"]["encoder − random"]["R@1"]["low"] > 0
    assert (encoder["n"], encoder["clusters"]) == (24, 6)
    assert levels["adapter"]["methods"]["random"]["R@1"]["value"] == pytest.approx(1 / 12)
    assert levels["adapter"]["methods"]["random within theme"]["R@1"]["value"] == pytest.approx(1 / 3)
    assert "random within theme" not in levels["theme"]["methods"]


def test_random_encoder_does_not_beat_chance() -> None:
    levels = tables(synthetic_benchmark(noise=50.0))
    assert levels["adapter"]["differences"]["encoder − random"]["R@1"]["low"] <= 0


def test_seen_and_absent_themes_share_the_queries_of_the_theme_level() -> None:
    benchmark = synthetic_benchmark(training=(4, 1))  # themes cat and mosaic; queries are about cat and neon
    relevant = relevant_by_level(benchmark)
    for row, query in enumerate(benchmark.queries):
        parts = [relevant[level][row].tolist() for level in ("seen theme", "absent theme")]
        expected = relevant["theme"][row].tolist()
        assert parts == ([expected, []] if "cat" in query.text else [[], expected])


def test_unseen_index_holds_no_training_adapter_and_the_same_captions() -> None:
    benchmark = synthetic_benchmark(noise=0.3, training=(4, 1, 11))
    restricted = unseen_index(benchmark)
    kept = [row for row, sha256 in enumerate(benchmark.adapters) if sha256 not in benchmark.training]
    assert restricted.adapters == tuple(benchmark.adapters[row] for row in kept) and len(kept) == 9
    assert restricted.queries == benchmark.queries
    independent = {name: method for name, method in BASELINES.items() if "BM25" not in name}
    for method in (encoder_scores, *independent.values()):
        assert np.allclose(method(restricted)(ALL), method(benchmark)(ALL)[:, kept])
    for name, method in BASELINES.items():
        assert method(restricted)(ALL).shape == (20, 9), name
    chance = compare_in_unseen_index(benchmark, PARAMS)["theme"]["methods"]["random"]["R@1"]["value"]
    assert chance == pytest.approx((2 / 9 * 8 + 3 / 9 * 12) / 20)


def test_named_theme_adds_the_adapters_of_a_theme_that_the_query_names() -> None:
    benchmark = synthetic_benchmark()
    first = replace(benchmark.queries[0], text="A MOSAIC of cats and sand-hills")
    relevant = relevant_by_level(replace(benchmark, queries=(first, *benchmark.queries[1:])))
    assert relevant["theme"][0].tolist() == [0, 4, 8], "cat"
    assert relevant["named theme"][0].tolist() == [0, 1, 3, 4, 5, 7, 8, 9, 11], "cat, mosaic and sand"
    assert [group.tolist() for group in relevant["named theme"][1:]] == [
        group.tolist() for group in relevant["theme"][1:]
    ]


def test_query_about_an_adapter_without_a_theme_belongs_to_no_theme_level() -> None:
    benchmark = synthetic_benchmark()
    benchmark.themes.pop(benchmark.queries[0].adapters[0])
    relevant = relevant_by_level(benchmark)
    assert {level: len(groups[0]) for level, groups in relevant.items()} == {
        "adapter": 1, "theme": 0, "named theme": 0, "seen theme": 0, "absent theme": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "themes"),
    [("a stained-glass cat", {"stained glass", "cat"}), ("glass, stained cats", set()), ("", set())],
)
def test_themes_are_found_word_by_word(text: str, themes: set[str]) -> None:
    assert find_themes(text, {"cat", "stained glass", "glass cat hat"}) == themes


def test_unseen_index_has_no_query_about_a_training_adapter() -> None:
    benchmark = synthetic_benchmark()
    trained = replace(benchmark, training=frozenset(benchmark.adapters[:1]))
    assert {query.adapters[0] for query in unseen_index(trained).queries} == {
        query.adapters[0] for query in benchmark.queries
    } - trained.training


def test_no_theme_level_without_judgments() -> None:
    assert set(tables(synthetic_benchmark(judged=False))) == {"adapter"}


def test_centroid_excludes_captions_of_the_described_rendering() -> None:
    captions: list[EmbeddedCaption] = []
    benchmark = synthetic_benchmark(noise=0.3, is_captioned=lambda caption: not captions.append(caption))
    query, query_vector = benchmark.queries[0], benchmark.query_vectors[0]
    own = [c.vector for c in captions if c.adapter == 0 and c.image != query.image]
    mean = np.mean(own, axis=0)
    scores = caption_centroid_scores(benchmark)(ALL)
    assert scores[0, 0] == pytest.approx(query_vector @ mean / np.linalg.norm(mean))
    other = np.mean([c.vector for c in captions if c.adapter == 1], axis=0)
    assert scores[0, 1] == pytest.approx(query_vector @ other / np.linalg.norm(other))


def test_hybrid_excludes_captions_of_the_described_rendering() -> None:
    captions: list[EmbeddedCaption] = []
    benchmark = synthetic_benchmark(noise=0.3, is_captioned=lambda caption: not captions.append(caption))
    benchmark = replace(
        benchmark,
        adapter_vectors=0.1 * benchmark.adapter_vectors,
        rule=CaptionRule(np.zeros(benchmark.adapter_vectors.shape[1]), margin=-3.0),
    )
    query, query_vector = benchmark.queries[0], benchmark.query_vectors[0]

    def expected(adapter: int, excluded: str) -> float:
        own = [c for c in captions if c.adapter == adapter and c.image != excluded]
        mean = np.mean([c.vector for c in own], axis=0)
        count = len({c.image for c in own})
        vector = count * mean / np.linalg.norm(mean) + 10 * benchmark.adapter_vectors[adapter]
        return float(query_vector @ vector / np.linalg.norm(vector))

    scores = hybrid_scores(benchmark)(ALL)[0]
    assert scores[0] == pytest.approx(expected(0, query.image))
    assert scores[1] == pytest.approx(expected(1, ""))


def test_hybrid_of_captions_that_contradict_the_weights_is_the_encoder() -> None:
    benchmark = synthetic_benchmark(noise=0.3)
    benchmark = replace(benchmark, rule=CaptionRule(np.zeros(benchmark.adapter_vectors.shape[1]), margin=3.0))
    assert np.allclose(hybrid_scores(benchmark)(ALL), encoder_scores(benchmark)(ALL))
    table = tables(benchmark)["theme"]
    assert "hybrid" in table["methods"]
    assert "hybrid − encoder" in table["differences"], "differences are those of the method that searches use"


def test_centroid_skips_queries_whose_adapter_has_no_other_caption() -> None:
    image = synthetic_benchmark().queries[0].image
    benchmark = synthetic_benchmark(is_captioned=lambda c: c.adapter != 0 or c.image == image)
    assert np.isnan(caption_centroid_scores(benchmark)(ALL)[0]).all()
    table = tables(benchmark)["theme"]
    assert table["methods"]["encoder"]["MRR"]["n"] == 24
    assert table["methods"]["caption centroid"]["MRR"]["n"] == 22
    assert table["differences"]["encoder − caption centroid"]["MRR"]["n"] == 22


def test_centroid_ranks_adapters_without_captions_last() -> None:
    benchmark = synthetic_benchmark(is_captioned=lambda c: c.adapter != 1)
    assert (caption_centroid_scores(benchmark)(ALL)[:, 1] == -1).all()


def test_rendering_of_two_adapters_has_two_relevant_adapters() -> None:
    full = synthetic_benchmark()
    first = full.queries[0]
    shared = Query(first.text, first.image, (full.adapters[0], full.adapters[5]))
    levels = relevant_by_level(replace(full, queries=(shared, *full.queries[1:])))
    assert sorted(levels["adapter"][0]) == [0, 5]
    assert sorted(levels["theme"][0]) == [0, 1, 4, 5, 8, 9]


def test_index_health_is_that_of_the_largest_k() -> None:
    benchmark = synthetic_benchmark()
    health = index_health(benchmark, searches(benchmark), (1, 3))
    assert health["k"] == 3
    assert 0 < health["most_retrieved_share"] <= 1
    assert 0 < health["never_retrieved"] < 1
    assert encoder_scores(benchmark)(ALL).shape == (24, 12)


def test_captions_of_a_rendering_are_summed_only_if_queries_describe_it() -> None:
    captions = [EmbeddedCaption(1, image, np.array([1.0, 2.0])) for image in ("a", "a", "b")]
    sums = sum_captions(captions, (2, 2), {"a"})
    assert sums.by_adapter.tolist() == [[0, 0], [3, 6]]
    assert {key: total.tolist() for key, total in sums.by_rendering.items()} == {(1, "a"): [2, 4]}
