"""Baselines, levels and the index of unseen adapters: they leave out what they must, and give what they define."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.dataset import store as dataset
from autolora.metrics.methods import weights_scores
from bench.baselines import (
    BASELINES,
    PrincipalComponents,
    bm25_scores,
    chance_by_level,
    find_themes,
    fused_scores,
    levels,
    list_metadata,
    pca_scores,
    unseen_index,
)
from bench.bm25 import Bm25, count_words
from tests.support import small_root
from tests.support.synthetic_benchmark import synthetic_pool

ALL = slice(None)


def test_seen_and_absent_themes_share_the_queries_of_the_theme_level() -> None:
    pool = synthetic_pool(training=(4, 1))  # themes cat and mosaic; queries are about cat and neon
    relevant = levels(pool)
    for row, query in enumerate(pool.benchmark.queries):
        parts = [relevant[level][row].tolist() for level in ("seen theme", "absent theme")]
        expected = relevant["theme"][row].tolist()
        assert parts == ([expected, []] if "cat" in query.text else [[], expected])


def test_unseen_index_holds_no_training_adapter_and_the_same_captions() -> None:
    pool = synthetic_pool(noise=0.3, training=(4, 1, 11))
    restricted, adapters = unseen_index(pool), pool.benchmark.adapters
    kept = [row for row, sha256 in enumerate(adapters) if sha256 not in pool.training]
    assert restricted.benchmark.adapters == tuple(adapters[row] for row in kept) and len(kept) == 9
    assert restricted.benchmark.queries == pool.benchmark.queries
    assert np.allclose(
        weights_scores(restricted.benchmark)(ALL), weights_scores(pool.benchmark)(ALL)[:, kept]
    )
    for name, method in BASELINES.items():
        assert method(restricted)(ALL).shape == (20, 9), name
        if "BM25" not in name and "rank" not in name:
            assert np.allclose(method(restricted)(ALL), method(pool)(ALL)[:, kept]), name
    chance = chance_by_level(restricted, (1,))
    assert chance["theme"]["random"]["R@1"].mean() == pytest.approx((2 / 9 * 8 + 3 / 9 * 12) / 20)
    assert chance["adapter"]["random within theme"]["R@1"].mean() == pytest.approx((8 / 2 + 12 / 3) / 20)


def test_named_theme_adds_the_adapters_of_a_theme_that_the_query_names() -> None:
    pool = synthetic_pool()
    first, *others = pool.benchmark.queries
    first = replace(first, text="A MOSAIC of cats and sand-hills")
    relevant = levels(replace(pool, benchmark=replace(pool.benchmark, queries=(first, *others))))
    assert relevant["theme"][0].tolist() == [0, 4, 8], "cat"
    assert relevant["named theme"][0].tolist() == [0, 1, 3, 4, 5, 7, 8, 9, 11], "cat, mosaic and sand"
    assert [group.tolist() for group in relevant["named theme"][1:]] == [
        group.tolist() for group in relevant["theme"][1:]
    ]


@pytest.mark.parametrize(
    ("text", "themes"),
    [("a stained-glass cat", {"stained glass", "cat"}), ("glass, stained cats", set()), ("", set())],
)
def test_themes_are_found_word_by_word(text: str, themes: set[str]) -> None:
    assert find_themes(text, {"cat", "stained glass", "glass cat hat"}) == themes


def test_unseen_index_has_no_query_about_a_training_adapter() -> None:
    pool = synthetic_pool()
    trained = replace(pool, training=frozenset(pool.benchmark.adapters[:1]))
    assert {query.adapters[0] for query in unseen_index(trained).benchmark.queries} == {
        query.adapters[0] for query in pool.benchmark.queries
    } - trained.training


def test_bm25_excludes_texts_about_the_described_rendering() -> None:
    pool = synthetic_pool()
    query = pool.benchmark.queries[0]
    texts = [(0, query.image, "short cat 0"), (0, "other", "a cat"), (1, "x", "a cat"), (2, "y", "a dog")]
    counts = count_words(texts, 12, {query.image})
    scores = bm25_scores(pool.benchmark, counts)(ALL)[0]
    index = Bm25.of(counts.by_adapter)
    assert query.text == "short cat 0"
    assert scores[0] == pytest.approx(index.score_document(["cat"], {"a": 1, "cat": 1}))
    assert scores[0] == scores[1] > scores[2] == 0, "as the adapter whose only caption is the remaining one"


def test_bm25_of_metadata_finds_the_theme_in_the_file_name() -> None:
    pool = synthetic_pool()
    scores, benchmark = BASELINES["BM25 of metadata"](pool)(ALL), pool.benchmark
    for row, query in zip(scores, benchmark.queries, strict=True):
        of_theme = [benchmark.themes[sha256] in query.text.split() for sha256 in benchmark.adapters]
        assert (row[of_theme] > 0).all() and (row[~np.array(of_theme)] == 0).all()


def test_pca_scores_are_cosines_with_the_anchor_which_is_excluded() -> None:
    pool = synthetic_pool(training=(4, 1, 2))  # of cat, mosaic and neon; queries are about cat and neon
    scores = pca_scores(pool)(ALL)
    for row, query in zip(scores, pool.benchmark.queries, strict=True):
        anchor = 4 if "cat" in query.text else 2
        cosines = pool.components @ pool.components[anchor]
        cosines[anchor] = -1.0
        assert row == pytest.approx(cosines)


def test_pca_scores_are_undefined_without_training_adapters() -> None:
    assert np.isnan(pca_scores(synthetic_pool())(ALL)).all()


def test_principal_components_are_those_of_the_singular_value_decomposition() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    components = PrincipalComponents.of(rows)
    projected = components.project(rows)
    assert projected.shape == (6, 5)
    centered = (rows - rows.mean(axis=0)).astype(np.float64)
    gram = centered @ centered.T
    lengths = np.sqrt(np.diag(gram))
    assert projected @ projected.T == pytest.approx(gram / np.outer(lengths, lengths), abs=1e-5)


def test_single_training_adapter_has_no_direction_and_is_no_error() -> None:
    row = np.ones((1, 4), dtype=np.float32)
    assert PrincipalComponents.of(row).project(row).tolist() == [[0.0]]


def test_metadata_are_what_the_hub_lists_by_rendering(tmp_path: Path) -> None:
    root = tmp_path
    small_root.build(root, small_root.base(root))
    row = dataset.rows(root, "adapters", ("sha256", "id", "file", "trigger_words"))[3]
    texts = list_metadata(root, ["unknown", row["sha256"]])
    assert texts[0] == (1, "", " ".join((row["id"], row["file"], *row["trigger_words"])))
    prompts = dataset.rows(root, "renderings", ("id", "adapter", "image", "prompt"))
    assert sorted(texts[1:]) == sorted(
        (1, prompt["image"], prompt["prompt"])
        for prompt in prompts
        if prompt["adapter"] == row["sha256"] and prompt["prompt"]
    )


def test_fusion_sums_the_reciprocals_of_ranks() -> None:
    rows = [np.array([[3.0, 1.0, 2.0]]), np.array([[np.nan, 0.5, 0.5]])]
    fused = fused_scores([lambda block, row=row: row[block] for row in rows])(ALL)
    assert fused == pytest.approx(np.array([[1 / 61 + 1 / 63, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62]]))
