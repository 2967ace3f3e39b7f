"""The methods of the sealed test: ways to score and to select the LoRAs of a repository for its prompts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autolora.concepts.store import Concepts
from autolora.encoder import store as encoder_store
from autolora.encoder.model import Encoder, TextEncoder, relevance_of
from autolora.evaluation.benchmark import make_benchmark
from autolora.index.store import read_vectors
from autolora.matching.hybrid import combine, directions
from autolora.matching.relevance import Relevance
from autolora.metrics.benchmark import Benchmark, CaptionSums, Query
from autolora.metrics.bm25 import WordCounts
from autolora.metrics.methods import (
    BASELINES,
    Scores,
    caption_centroid_scores,
    encoder_scores,
    index_scores,
)
from autolora.params import Params
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array
from bench.encoders import VARIANTS, embed_pool, encoder_params, fit_encoder
from bench.retrieval import popularity_scores, read_downloads, rendering_benchmark
from bench.sealed_pool import SealedPrompt

HYBRID, WEIGHTS = "hybrid", "weights alone"


@dataclass(frozen=True, slots=True, eq=False)
class Method:
    """A way to score LoRAs for a prompt."""

    benchmark: Benchmark
    """its queries are the prompts, one after the other, each once per rendering that it describes"""
    make: Callable[[Benchmark], Scores]
    relevance: Relevance | None = None
    """of its scores; None: it selects nothing"""

    @property
    def is_hybrid(self) -> bool:
        """Whether it combines weights and captions."""
        return self.make is index_scores and self.benchmark.rule is not None

    def candidates(self, benchmark: Benchmark) -> tuple[Float64Array, BoolArray]:
        """Return the unit vectors (N, d) among which it selects, and whether captions count in them (N,)."""
        weights = np.asarray(benchmark.adapter_vectors, dtype=np.float64)
        if not self.is_hybrid or benchmark.rule is None:
            return directions(weights), np.zeros(len(weights), dtype=np.bool_)
        return combine(weights, benchmark.captions.by_adapter, benchmark.captions.renderings, benchmark.rule)


Methods = dict[str, Method]


@dataclass(frozen=True, eq=False)
class MethodMaker:
    """Makes the methods of one repository."""

    root: Path
    prompts: Sequence[SealedPrompt]
    themes: Mapping[str, str]
    """of LoRAs, by sha256"""
    params: Params
    text_encoder: TextEncoder
    steps: int | None = None
    """of transformers, in place of encoder.steps"""

    @cached_property
    def fixed(self) -> Methods:
        """Methods without a seed: the encoder and index of the pipeline, and baselines."""
        encoder = encoder_store.load_encoder(encoder_store.folder(self.root))
        best = self.benchmark(encoder, read_vectors(self.root, "weights_vector"))
        downloads = read_downloads(self.root)
        baselines = {name: Method(best, make) for name, make in BASELINES.items()}
        return (
            encoder_methods(encoder, best)
            | baselines
            | {
                "popularity": Method(best, lambda restricted: popularity_scores(restricted, downloads)),
                "rendering centroid": Method(
                    rendering_benchmark(self.root, self.params, best), caption_centroid_scores
                ),
            }
        )

    def seeded(self, seed: int) -> Methods:
        """Return the methods with random initial weights, and the caption centroid without a text map."""
        methods: Methods = {}
        for name, variant in VARIANTS.items():
            section = encoder_params(self.root, variant.preset, variant.changes, seed, self.steps)
            encoder = fit_encoder(self.root, section, self.params, self.text_encoder)
            benchmark = self.benchmark(encoder, embed_pool(self.root, encoder, self.params.pool))
            methods[name] = Method(benchmark, encoder_scores, relevance_of(encoder))
        methods["plain caption centroid"] = Method(methods["paper"].benchmark, caption_centroid_scores)
        return methods

    def with_concepts(self, name: str, concepts: Concepts) -> Methods:
        """Return hybrid and weights alone by the preset `best` that has learned from concepts too."""
        section = encoder_params(self.root, "best", {}, 0, self.steps)
        encoder = fit_encoder(self.root, section, self.params, self.text_encoder, concepts)
        benchmark = self.benchmark(encoder, embed_pool(self.root, encoder, self.params.pool))
        return {f"{kind} + {name}": method for kind, method in encoder_methods(encoder, benchmark).items()}

    def benchmark(self, encoder: Encoder, index_rows: tuple[tuple[str, ...], Float32Array]) -> Benchmark:
        """Return the benchmark of all prompts."""
        queries = tuple(
            Query(prompt.text, image, ()) for prompt in self.prompts for image in prompt.images or ("",)
        )
        return make_benchmark(self.root, encoder, self.text_encoder, index_rows, queries, self.themes)


def encoder_methods(encoder: Encoder, benchmark: Benchmark) -> Methods:
    """Return hybrid and weights alone of an encoder."""
    relevance = relevance_of(encoder)
    return {
        HYBRID: Method(benchmark, index_scores, relevance),
        WEIGHTS: Method(benchmark, encoder_scores, relevance),
    }


def for_prompt(benchmark: Benchmark, row: int, images: Sequence[str]) -> Benchmark:
    """Return the benchmark of one prompt, a row of its queries, without the texts about the renderings it describes."""
    described = {
        name: WordCounts(_without_words(counts, images), {}) for name, counts in benchmark.words.items()
    }
    return replace(
        benchmark,
        queries=benchmark.queries[row : row + 1],
        query_vectors=benchmark.query_vectors[row : row + 1],
        captions=_without_captions(benchmark.captions, images),
        words=described,
    )


def _without_captions(captions: CaptionSums, images: Sequence[str]) -> CaptionSums:
    sums, renderings = captions.by_adapter.copy(), captions.renderings.copy()
    for (adapter, image), vector in captions.by_rendering.items():
        if image in images:
            renderings[adapter] -= 1
            sums[adapter] -= vector
    sums[renderings == 0] = 0.0  # not what rounding leaves of the difference
    return CaptionSums(sums, {}, renderings)


def _without_words(counts: WordCounts, images: Sequence[str]) -> tuple[Mapping[str, int], ...]:
    documents = list(counts.by_adapter)
    for (adapter, image), words in counts.by_rendering.items():
        if image in images:
            documents[adapter] = {
                word: count - words.get(word, 0) for word, count in documents[adapter].items()
            }
    return tuple(documents)
