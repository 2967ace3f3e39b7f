"""The stage `fusion`: train the gates on the adapters of the training lock, or take pretrained ones as they are; save
data/fusion and its digest.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora import models
from autolora.dataset.store import TrainingRow, training_lock
from autolora.errors import MissingArtifact
from autolora.flow_matching import encode_captions, shifted_sigmas
from autolora.fusion import store as fusion
from autolora.fusion.checkpoint import Checkpoint
from autolora.fusion.examples import encode_example, find_examples, texts_by_image
from autolora.fusion.pretrained import load_pretrained
from autolora.fusion.training import CaptionedAdapter, EncodedAdapter, Progress, fit
from autolora.lora.factors import Lora
from autolora.params import FusionParams, ModelsParams, PoolParams, training_params
from autolora.pool.weights import load_lora
from autolora.pretrained.source import locate_pinned
from autolora.slots import slots
from autolora.storage.hashes import hash_value

ADAPTERS_IN_MEMORY = 64
"""adapters whose weights, and whose encoded images and captions, are kept: the states of FLUX.1-dev's T5 are 63 MB per
adapter with 15 captions, those of thousands of adapters more than a machine's memory"""
LOSS_WINDOW = 50
"""number of first and last steps whose mean loss is logged"""

logger = logging.getLogger(__name__)


def train(
    root: Path, params: FusionParams, base: ModelsParams, bounds: PoolParams, tokens: int, progress: Progress
) -> str:
    """Train the gates on the locked adapters, save data/fusion and then its digest; return the digest's sha256.

    bounds: limits on files of weights. tokens: number of T5 states per caption.
    Raises MissingArtifact if there are no training examples.
    """
    models.set_threads(base)
    rows = training_lock(root).in_split("train")
    if not rows:
        raise MissingArtifact(
            f"{root / 'data/training.jsonl'} lists no training adapters: run `dvc repro dataset`"
        )
    pipeline = models.load_pipeline(base)
    transformer = pipeline.transformer
    canonical = slots(transformer.config)
    torch.manual_seed(params.seed)
    gates = fusion.build(transformer.config, params.variant).to(base.device)
    if params.checkpointing:
        transformer.enable_gradient_checkpointing()

    @lru_cache(ADAPTERS_IN_MEMORY)
    def lora_of(sha256: str) -> Lora:
        return load_lora(root, sha256, canonical, bounds)

    @lru_cache(ADAPTERS_IN_MEMORY)
    def encode(example: CaptionedAdapter) -> EncodedAdapter:
        return encode_example(root, example, pipeline, params.image_size, tokens)

    examples = find_examples(root, rows)
    logger.info("%d adapters with %d images", len(examples), sum(len(example.images) for example in examples))
    num_image_tokens = encode(examples[0]).latents.shape[1] if examples else 1
    sigmas = _sigmas(pipeline, params.variant.flow_shift, num_image_tokens)
    empty_caption = encode_captions(pipeline, [""], tokens)
    trained_from = _trained_from(root, rows, params, base)
    checkpoint = Checkpoint(root / "cache" / "fusion_training.pt", hash_value(trained_from))
    losses = fit(
        gates, transformer, examples, encode, lora_of, sigmas, params, progress, empty_caption, checkpoint
    )
    fusion.save(gates, canonical, fusion.folder(root))
    first, last = _mean(losses[:LOSS_WINDOW]), _mean(losses[-LOSS_WINDOW:])
    logger.info("mean loss of the first %d steps %.4f, of the last %.4f", LOSS_WINDOW, first, last)
    counts = {"adapters": len(examples), "left_out": len(rows) - len(examples)}
    digest = fusion.write_fusion_digest(root, gates, trained_from, **counts)
    checkpoint.remove()
    return digest


def use_pretrained(root: Path, params: FusionParams, base: ModelsParams) -> str:
    """Save the pretrained gates that the params name as data/fusion, write their digest, and return where they lie.

    Raises as `locate_pinned` and `load_pretrained`, and MismatchError if they were trained for another base model.
    """
    pretrained = load_pretrained(locate_pinned("gates", params.from_, params.from_revision))
    transformer = models.transformer_config(base)
    pretrained.check_fits(transformer)
    fusion.save(pretrained.gates, slots(transformer), fusion.folder(root))
    origin, adapters = {"pretrained": pretrained.config.digest}, pretrained.config.training.adapters
    fusion.write_fusion_digest(root, pretrained.gates, origin, adapters=adapters, left_out=0)
    return str(pretrained.folder)


def _trained_from(
    root: Path, rows: Sequence[TrainingRow], params: FusionParams, base: ModelsParams
) -> dict[str, str]:
    """Return the hashes of the inputs of a training: params, base model, and each adapter's images and captions."""
    captions = texts_by_image(root)
    inputs = {row.sha256: hash_value([[image, captions[image]] for image in row.renderings]) for row in rows}
    return inputs | {
        "params": hash_value(training_params(params)),
        "base": hash_value([base.pipeline, base.pipeline_revision]),
    }


def _sigmas(pipeline: Any, shift: float | None, tokens: int) -> Tensor:
    """Return the noise levels (S,) of training: those of the pipeline for `tokens` image tokens, or shifted ones."""
    return models.training_sigmas(pipeline, tokens) if shift is None else shifted_sigmas(shift)


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
