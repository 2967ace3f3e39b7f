"""bench.retrieval on synthetic benchmarks and on a small repository."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora import models
from autolora.metrics.methods import caption_centroid_scores, encoder_scores
from autolora.params import EvaluationParams
from autolora.presets.encoder import ENCODER
from bench import encoders, retrieval
from tests.support import small_root
from tests.support.synthetic_benchmark import synthetic_benchmark

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
    text_encoder = encoders.CachingTextEncoder(models.load_text_encoder(base))
    for variant in encoders.VARIANTS.values():
        section = encoders.encoder_params(tmp_path, variant.preset, variant.changes, 0, steps=1)
        benchmark = encoders.build_benchmark(tmp_path, section, params, text_encoder)
        assert set(benchmark.adapters) == set(themes)
        assert np.linalg.norm(benchmark.adapter_vectors, axis=1) == pytest.approx(1, abs=1e-5)
        assert benchmark.rule is None
    assert set(retrieval.read_downloads(tmp_path)) == set(themes)


def test_popularity_ranks_by_downloads_in_every_index() -> None:
    benchmark = synthetic_benchmark(training=(1, 4))
    downloads = {sha256: row for row, sha256 in enumerate(benchmark.adapters) if row != 3}
    methods: retrieval.Methods = {
        "popularity": (benchmark, lambda pool: retrieval.popularity_scores(pool, downloads))
    }
    scores = methods["popularity"][1](benchmark)(slice(1, 4))
    assert scores.tolist() == [[0, 1, 2, 0, 4, 5, 6, 7, 8, 9, 10, 11]] * 3
    recalls = retrieval.measure(methods)
    for index in (retrieval.WHOLE, retrieval.UNSEEN):
        assert not recalls[index]["adapter"]["popularity"].any(), "the most popular one, 11, is of no query"


def test_estimates_average_seeds_and_keep_their_values() -> None:
    benchmark = synthetic_benchmark(training=(1, 4))
    constant = retrieval.merge(
        retrieval.measure({"centroid": (benchmark, caption_centroid_scores)}),
        retrieval.measure_chance(benchmark),
    )
    right, wrong = (
        retrieval.measure({"paper": (replace(benchmark, adapter_vectors=vectors), encoder_scores)})
        for vectors in (benchmark.adapter_vectors, -benchmark.adapter_vectors)
    )
    by_seed = [retrieval.merge(constant, part) for part in (right, wrong)]
    tables = retrieval.estimate_all(by_seed, benchmark, PARAMS)
    row = tables[retrieval.WHOLE]["theme"]["paper"]
    assert (row["seeds"], row["value"], row["n"], row["clusters"]) == ([1.0, 0.0], 0.5, 20, 5)
    chance = tables[retrieval.UNSEEN]["adapter"]["random within theme"]
    assert chance["value"] == pytest.approx((2 * 1 / 2 + 3 * 1 / 3) / 5)
    names = {row.name: row for row in retrieval.headlines(tables)}
    assert {name.split("_theme")[0] for name in names if name.endswith("theme_r_at_1_unseen")} == {
        "retrieval.paper", "retrieval.paper_named", "retrieval.paper_seen", "retrieval.paper_absent",
        "retrieval.paper_unseen_index", "retrieval.paper_unseen_index_named",
        "retrieval.paper_unseen_index_seen", "retrieval.paper_unseen_index_absent",
    }  # fmt: skip
    assert names["retrieval.paper_unseen_index_theme_r_at_1_unseen"].preset == "paper"
    assert retrieval.to_markdown(tables).count("\n| ") == 4
