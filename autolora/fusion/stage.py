"""The stage `fusion`: from the training lock to trained gates in data/fusion."""

import logging
from functools import lru_cache
from pathlib import Path

import torch

from autolora import models
from autolora.dataset.store import training
from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.examples import encode, encode_texts
from autolora.fusion.gate import GateSpec
from autolora.fusion.training import Progress, fit
from autolora.lora.factors import Lora
from autolora.params import FusionParams, ModelsParams, PoolParams
from autolora.pool.weights import load_lora
from autolora.presets import FUSION, resolve
from autolora.slots import fused_slots, slots
from autolora.storage.incremental import write_digest

ADAPTERS_IN_MEMORY = 64
SHOWN = 50

logger = logging.getLogger(__name__)


def spec(params: FusionParams) -> GateSpec:
    """Return what the params say of a gate."""
    form = resolve(FUSION, params)
    return GateSpec(
        form=form.gate,
        relevance=form.relevance,
        spread=form.spread,
        bias=form.bias,
        scale=form.scale,
        relevance_weight=form.relevance_weight,
        global_rank=form.global_rank,
    )


def train(
    root: Path, params: FusionParams, base: ModelsParams, bounds: PoolParams, tokens: int, progress: Progress
) -> str:
    """Train the gates on the training lock's adapters, save them, and return their digest.

    tokens: of the T5 states. Raises MissingArtifact when there is nothing to learn from.
    """
    models.set_threads(base)
    rows = training(root).of("train")
    if not rows:
        raise MissingArtifact(
            f"{root / 'data/training.jsonl'} names no training adapters: run `dvc repro dataset`"
        )
    pipeline = models.load_pipeline(base)
    table = slots(pipeline.transformer.config)
    gated = fused_slots(pipeline.transformer.config) if resolve(FUSION, params).slots == "fused" else table
    torch.manual_seed(params.seed)
    gates = fusion.build(gated, spec(params)).to(base.device)
    if params.checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()

    @lru_cache(ADAPTERS_IN_MEMORY)
    def lora_of(sha256: str) -> Lora:
        return load_lora(root, sha256, table, bounds)

    examples = list(encode(root, rows, pipeline, params.picture, tokens))
    logger.info("%d adapters, %d pictures", len(examples), sum(len(one.latents) for one in examples))
    sigmas = models.training_sigmas(pipeline, examples[0].latents.shape[1]) if examples else torch.ones(1)
    blank = encode_texts(pipeline, [""], tokens)
    losses = fit(gates, pipeline.transformer, examples, lora_of, sigmas, params, progress, blank)
    fusion.save(gates, table, fusion.folder(root))
    return write_digest(
        root,
        "fusion",
        fusion.rows(gates),
        fusion.SCHEMA,
        adapters=len(examples),
        left_out=len(rows) - len(examples),
        loss_first=round(_mean(losses[:SHOWN]), 4),
        loss_last=round(_mean(losses[-SHOWN:]), 4),
    )


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
