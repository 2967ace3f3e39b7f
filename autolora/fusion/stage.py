"""The stage `fusion`: train the gates on the adapters of the training lock; save data/fusion and its digest."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora import models, processes
from autolora.checkpoint import Checkpoint
from autolora.dataset.store import TrainingRow, training_lock
from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.examples import ExampleReader, find_examples, texts_by_image
from autolora.fusion.flow_matching import shifted_sigmas
from autolora.fusion.gate import Gates
from autolora.fusion.interference import Interference
from autolora.fusion.training import Progress, fit
from autolora.fusion.training_set import TrainingSet
from autolora.fusion.training_state import TrainingState
from autolora.lora.slots import slots
from autolora.params import FusionParams, ModelsParams, PoolParams, training_params
from autolora.storage.hashes import hash_value
from autolora.storage.inputs import read_state, write_libraries

LOSS_WINDOW = 50
"""number of first and last steps whose mean loss is logged"""

logger = logging.getLogger(__name__)


def train(
    root: Path, params: FusionParams, base: ModelsParams, bounds: PoolParams, tokens: int, progress: Progress
) -> TrainingState:
    """Train the gates on the locked adapters, save data/fusion and then its digest; return the last state.

    Of several processes, the first one saves.
    bounds: limits on files of weights. tokens: number of T5 states per caption.
    Raises MissingArtifact if there are no training examples.
    """
    models.set_threads(base)
    lock = training_lock(root)
    rows, validation_rows = lock.in_split("train"), lock.in_split("validation")
    if not rows:
        raise MissingArtifact(
            f"{root / 'data/training.jsonl'} lists no training adapters: run `dvc repro dataset`"
        )
    pipeline = models.load_pipeline(replace(base, memory=None))  # gradients pass through all of it
    torch.manual_seed(params.seed)
    gates = fusion.build(pipeline.transformer.config, params.variant)
    trained_from = _trained_from(root, [*rows, *validation_rows], params, base)
    if params.checkpointing:
        pipeline.transformer.enable_gradient_checkpointing()
    files = base_files(root, base)
    reader = ExampleReader(root, pipeline, bounds, base_files=files, size=params.image_size, tokens=tokens)
    examples, validation = (
        reader.training_set(find_examples(root, split)) for split in (rows, validation_rows)
    )
    logger.info("training on %d adapters", len(examples.adapters))
    examples.require_pairs(params.variant)
    objective = make_objective(pipeline, examples, params)
    is_held_out = _can_hold_out(validation, params)
    held_out = make_objective(pipeline, validation, params) if is_held_out else None
    checkpoint = Checkpoint(root / "cache" / "fusion_training.pt", hash_value([trained_from, files, tokens]))
    state = fit(gates.to(base.device), objective, params, progress, held_out, checkpoint)
    state.keep_best()
    if not processes.is_first():
        return state
    _log(state)
    fusion.save(gates, slots(pipeline.transformer.config), fusion.folder(root))
    write_libraries(fusion.folder(root))
    _write_digest(root, gates, trained_from, state, len(examples.adapters), len(rows))
    checkpoint.remove()
    return state


def _can_hold_out(validation: TrainingSet, params: FusionParams) -> bool:
    """Return whether a held-out loss is asked for and can be measured."""
    if params.validate_every is not None and not validation.has_pairs(params.variant):
        logger.warning(
            "the validation split has no two adapters to measure a held-out loss with: training all steps"
        )
    return params.validate_every is not None and validation.has_pairs(params.variant)


def make_objective(pipeline: Any, examples: TrainingSet, params: FusionParams) -> Interference:
    """Return the loss of Eq. 10 on a training set, at the noise levels of the variant."""
    num_image_tokens = examples.encode_images(examples.adapters[0]).shape[1]
    sigmas = training_sigmas(pipeline, params.variant.flow_shift, num_image_tokens)
    return Interference(pipeline.transformer, examples, sigmas, params)


def base_files(root: Path, base: ModelsParams) -> str:
    """Return what says which files on this machine the base model was read from: names what is computed with it."""
    files = read_state(root, base.pipeline).sha256
    return hash_value([base.pipeline, base.pipeline_revision, base.dtype, files])


def _trained_from(
    root: Path, rows: Sequence[TrainingRow], params: FusionParams, base: ModelsParams
) -> dict[str, str]:
    """Return the hashes of the inputs of a training: params, base model, and each adapter's images and captions."""
    captions = texts_by_image(root)
    inputs = {row.sha256: hash_value([[image, captions[image]] for image in row.renderings]) for row in rows}
    return inputs | {
        "params": hash_value(training_params(params)),
        "base": hash_value([base.pipeline, base.pipeline_revision, base.dtype]),
    }


def training_sigmas(pipeline: Any, shift: float | None, tokens: int) -> Tensor:
    """Return the noise levels (S,) of training: those of the pipeline for `tokens` image tokens, or shifted ones."""
    return models.training_sigmas(pipeline, tokens) if shift is None else shifted_sigmas(shift)


def _write_digest(
    root: Path, gates: Gates, trained_from: Mapping[str, str], state: TrainingState, used: int, locked: int
) -> None:
    """Write digests/fusion.json with the number of adapters, and which step's gates were kept for which losses."""
    facts: dict[str, Any] = {"adapters": used, "left_out": locked - used, "best_step": state.best_step}
    facts["held_out_loss"] = {str(step): round(loss, 6) for step, loss in state.held_out}
    fusion.write_fusion_digest(root, gates, trained_from, **facts)


def _log(state: TrainingState) -> None:
    first, last = _mean(state.losses[:LOSS_WINDOW]), _mean(state.losses[-LOSS_WINDOW:])
    logger.info("mean loss of the first %d steps %.4f, of the last %.4f", LOSS_WINDOW, first, last)
    logger.info("the gates are those after step %d of %d", state.best_step, len(state.losses))


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
