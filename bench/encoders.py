"""Encoders that benches train in memory, and the benchmark of each: the adapters of the dataset, embedded by it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.encoder import training
from autolora.encoder.examples import load_examples
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.model import Encoder, TextEncoder, predict
from autolora.evaluation.benchmark import make_benchmark, read_renderings, unseen_queries
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.judgments import read_judgments
from autolora.params import EncoderParams, Params, PoolParams, load
from autolora.presets import Preset
from autolora.presets.encoder import ENCODER, EncoderVariant
from autolora.storage.arrays import Float32Array
from studies.released.presets import ENCODER as RELEASED


@dataclass(frozen=True, slots=True)
class Variant:
    """An encoder that is measured."""

    preset: str
    """a key of PRESETS"""
    changes: Mapping[str, Any]
    """of the preset's fields"""


PRESETS: Mapping[str, EncoderVariant] = {**ENCODER, "released": RELEASED}
VARIANTS = {
    "paper": Variant("paper", {}),
    "released": Variant("released", {}),
}
"""those with random initial weights, by the name of their row"""
SIZE: Mapping[str, Any] = {
    "layers": 2, "heads": 4, "learning_rate": 0.001, "steps": 100, "batch": 16,
}  # fmt: skip
"""of the transformers, for the playground: few adapters, and a text encoder of width 128"""


def encoder_params(
    root: Path, preset: str, changes: Mapping[str, Any], seed: int, steps: int | None
) -> EncoderParams:
    """Return the section `encoder` with a preset in the size of the bench, and these changes. steps: None is SIZE's."""
    size = SIZE if steps is None else {**SIZE, "steps": steps}
    variant = replace(PRESETS[preset], **{**size, **changes})
    return replace(
        load(root / "params.yaml").encoder, preset=cast(Preset, preset), variant=variant, seed=seed
    )


def build_benchmark(
    root: Path, section: EncoderParams, params: Params, text_encoder: TextEncoder
) -> Benchmark:
    """Train an encoder, embed all adapters of the dataset, and return the benchmark of the test queries."""
    encoder = fit_encoder(root, section, params, text_encoder)
    adapters, vectors = embed_pool(root, encoder, params.pool)
    renderings = read_renderings(root)
    queries = unseen_queries(root, renderings, "test")
    path = params.evaluation.themes
    judgments = read_judgments(root / path if path else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    return make_benchmark(root, encoder, text_encoder, (adapters, vectors), queries, themes)


def fit_encoder(root: Path, section: EncoderParams, params: Params, text_encoder: TextEncoder) -> Encoder:
    """Return an encoder that is trained on the training lock."""
    encoder = training.build(root, section, models.transformer_config(params.models), text_encoder)
    read = cache(encoder_store.reader(root, encoder.config, params.pool))
    for _ in training.fit(encoder, load_examples(root), read, text_encoder, section):
        pass
    return encoder


def embed_pool(root: Path, encoder: Encoder, bounds: PoolParams) -> tuple[tuple[str, ...], Float32Array]:
    """Return the adapters (N,) of the dataset, sorted, and the vectors (N, d) of their weights."""
    read = encoder_store.reader(root, encoder.config, bounds)
    adapters = tuple(sorted(read_renderings(root)))
    return adapters, np.stack([embed(encoder, read(sha256)) for sha256 in adapters])


@torch.inference_mode()
def embed(encoder: Encoder, inputs: AdapterBatch) -> Float32Array:
    """Return the vector (d,) of one adapter's weights, as the index stores it."""
    vector: Float32Array = predict(encoder, inputs.values, inputs.present)[0].numpy()
    return vector
