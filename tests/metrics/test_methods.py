"""The baselines: they leave out what they must, and give the scores of their definitions."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.evaluation.benchmark import PrincipalComponents
from autolora.metrics.bm25 import Bm25, count_words
from autolora.metrics.methods import bm25_scores, pca_scores
from tests.support.synthetic_benchmark import synthetic_benchmark

ALL = slice(None)


def test_bm25_excludes_texts_about_the_described_rendering() -> None:
    benchmark = synthetic_benchmark()
    query = benchmark.queries[0]
    texts = [(0, query.image, "short cat 0"), (0, "other", "a cat"), (1, "x", "a cat"), (2, "y", "a dog")]
    counts = count_words(texts, 12, {query.image})
    changed = replace(benchmark, words={"captions": counts, "metadata": counts})
    scores = bm25_scores(changed, "captions")(ALL)[0]
    index = Bm25.of(counts.by_adapter)
    assert query.text == "short cat 0"
    assert scores[0] == pytest.approx(index.score_document(["cat"], {"a": 1, "cat": 1}))
    assert scores[0] == scores[1] > scores[2] == 0, "as the adapter whose only caption is the remaining one"


def test_bm25_of_metadata_finds_the_theme_in_the_file_name() -> None:
    benchmark = synthetic_benchmark()
    scores = bm25_scores(benchmark, "metadata")(ALL)
    for row, query in zip(scores, benchmark.queries, strict=True):
        of_theme = [benchmark.themes[sha256] in query.text.split() for sha256 in benchmark.adapters]
        assert (row[of_theme] > 0).all() and (row[~np.array(of_theme)] == 0).all()


def test_pca_scores_are_cosines_with_the_anchor_which_is_excluded() -> None:
    benchmark = synthetic_benchmark(
        training=(4, 1, 2)
    )  # of cat, mosaic and neon; queries are about cat and neon
    scores = pca_scores(benchmark)(ALL)
    for row, query in zip(scores, benchmark.queries, strict=True):
        anchor = 4 if "cat" in query.text else 2
        cosines = benchmark.components @ benchmark.components[anchor]
        cosines[anchor] = -1.0
        assert row == pytest.approx(cosines)


def test_pca_scores_are_undefined_without_training_adapters() -> None:
    assert np.isnan(pca_scores(synthetic_benchmark())(ALL)).all()


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
