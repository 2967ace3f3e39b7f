"""bench.retrieval on synthetic benchmarks and on a small repository."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora import models
from autolora.encoder.caching import CachingTextEncoder
from autolora.params import EvaluationParams
from autolora.presets.encoder import ENCODER
from bench import encoders, retrieval
from bench.baselines import centroid_scores, make_pool
from tests.support import small_root
from tests.support.synthetic_benchmark import synthetic_pool

PARAMS = EvaluationParams(split="test", ks=(1,), bootstrap=100, seed=0, themes=None)
REPOSITORY = Path(__file__).parents[2]


def test_every_preset_has_the_size_of_the_bench() -> None:
    section = encoders.encoder_params(REPOSITORY, "paper", {"probe": "sketch"}, seed=2, steps=5)
    size = {**encoders.SIZE, "steps": 5}
    assert (section.preset, section.seed) == ("paper", 2)
    assert section.variant == replace(ENCODER["paper"], **size, probe="sketch")
    assert encoders.encoder_params(REPOSITORY, "best", {}, seed=0, steps=None).variant.steps == 100


@pytest.mark.slow
def test_benchmark_of_an_encoder_holds_every_adapter(tmp_path: Path) -> None:
    base = small_root.base(tmp_path)
    themes = small_root.build(tmp_path, base)
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    params = replace(small_root.params(), models=base)
    params = replace(params, evaluation=replace(params.evaluation, themes=None))
    text_encoder = CachingTextEncoder(models.load_text_encoder(base))
    for variant in encoders.VARIANTS.values():
        section = encoders.encoder_params(tmp_path, variant.preset, variant.changes, 0, steps=1)
        benchmark = encoders.build_benchmark(tmp_path, section, params, text_encoder)
        pool = make_pool(tmp_path, benchmark)
        assert pool.components.shape[0] == len(themes) and pool.anchors.adapters
        assert set(benchmark.adapters) == set(themes)
        assert np.linalg.norm(benchmark.adapter_vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert set(retrieval.read_downloads(tmp_path)) == set(themes)


def test_popularity_ranks_by_downloads_in_every_index() -> None:
    pool = synthetic_pool(training=(1, 4))
    downloads = {sha256: row for row, sha256 in enumerate(pool.benchmark.adapters) if row != 3}
    methods: retrieval.Methods = {
        "popularity": (pool, lambda restricted: retrieval.popularity_scores(restricted, downloads))
    }
    scores = methods["popularity"][1](pool)(slice(1, 4))
    assert scores.tolist() == [[0, 1, 2, 0, 4, 5, 6, 7, 8, 9, 10, 11]] * 3
    recalls = retrieval.measure(methods)
    for index in (retrieval.WHOLE, retrieval.UNSEEN):
        assert not recalls[index]["adapter"]["popularity"].any(), "the most popular one, 11, is of no query"


def test_estimates_average_seeds_and_keep_their_values() -> None:
    pool = synthetic_pool(training=(1, 4))
    constant = retrieval.merge(
        retrieval.measure(
            {"caption centroid": (pool, centroid_scores), "weights": (pool, retrieval.by_weights)}
        ),
        retrieval.measure_chance(pool),
    )
    vectors = pool.benchmark.adapter_vectors
    right, wrong = (
        retrieval.measure(
            {
                "paper": (
                    replace(pool, benchmark=replace(pool.benchmark, adapter_vectors=own)),
                    retrieval.by_weights,
                )
            }
        )
        for own in (vectors, -vectors)
    )
    by_seed = [retrieval.merge(constant, part) for part in (right, wrong)]
    tables = retrieval.estimate_all(by_seed, pool, PARAMS)
    row = tables[retrieval.WHOLE]["theme"]["paper"]
    assert (row["seeds"], row["value"], row["n"], row["clusters"]) == ([1.0, 0.0], 0.5, 20, 5)
    chance = tables[retrieval.UNSEEN]["adapter"]["random within theme"]
    assert chance["value"] == pytest.approx((2 * 1 / 2 + 3 * 1 / 3) / 5)
    names = {row.name: row for row in retrieval.headlines(tables)}
    columns = [
        f"{index}{level}"
        for index in ("", "unseen_index_")
        for level in ("adapter", "theme", "named_theme", "seen_theme", "absent_theme")
    ]
    shared, levels = ("caption_centroid", "weights", "random"), ("adapter", "theme")
    of_stage = {f"{name}_{level}" for name in shared for level in levels}
    expected = {f"{name}_{column}" for name in ("paper", *shared) for column in columns}
    within = {f"random_within_theme_{index}adapter" for index in ("", "unseen_index_")}
    assert set(names) == {f"retrieval.{name}_r_at_1_unseen" for name in (expected - of_stage) | within}
    assert names["retrieval.paper_unseen_index_theme_r_at_1_unseen"].preset == "paper"
    assert names["retrieval.weights_unseen_index_theme_r_at_1_unseen"].preset == "best"
    assert retrieval.to_markdown(tables).count("\n| ") == 5
