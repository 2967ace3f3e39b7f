"""The gates of the study: trained once, in the cache of a world, and continued after a kill."""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora import models
from autolora.checkpoint import Checkpoint
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.interference import Interference
from autolora.fusion.stage import base_files, make_objective, training_sigmas
from autolora.fusion.training import TrainingLoss, fit, held_out_loss
from autolora.fusion.training_set import TrainingSet
from autolora.fusion.training_state import TrainingState
from autolora.params import FusionParams, training_params
from autolora.presets.fusion import FUSION
from autolora.progress import Progress
from autolora.storage.files import read_json, write_atomic
from autolora.storage.hashes import hash_value
from studies.gates.cells import CELLS, Kept, Recipe, params_of
from studies.gates.distillation import Distillation
from studies.gates.world import World
from studies.paper.rules.velocity import FACTOR


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Facts of a training, as JSON values."""

    held_out: dict[str, float]
    """number of steps -> the objective's loss on held-out adapters"""
    best_step: int
    unseen: dict[Kept, float]
    """loss of Eq. 10 on unseen adapters, by the gates that are kept; the same images and noise for all gates"""


class Shelf:
    """Trained gates, in cache/gates_bench/gates of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.load = lru_cache(2)(self._load)
        sets = (world.training, world.held_out)
        self._trained_on = hash_value(
            [[[adapter.sha256, adapter.captions] for adapter in examples.adapters] for examples in sets]
        )

    def key(self, recipe: Recipe, seed: int) -> str:
        """Return the hash of what gates are trained from, which is known before they are."""
        settings = training_params(params_of(self._world.params, recipe, seed))
        files = base_files(self._world.root, self._world.params.models)
        is_trained = recipe.learning_rate is not None
        return hash_value([settings, CELLS[recipe.cell].distilled, self._trained_on, files, is_trained])

    def is_finished(self, recipe: Recipe, seed: int) -> bool:
        """Return whether the gates are trained."""
        return (self._folder(recipe, seed) / "training.json").exists()

    def training(self, recipe: Recipe, seed: int) -> Training:
        """Return facts of a training, which runs first if its gates are missing."""
        path = self._folder(recipe, seed) / "training.json"
        if not path.exists():
            self._train(recipe, seed)
        return Training(**(read_json(path) or {}))

    def _folder(self, recipe: Recipe, seed: int) -> Path:
        return self._world.cache / "gates" / self.key(recipe, seed)

    def _load(self, recipe: Recipe, seed: int) -> Gates:
        """Return gates on the base model's device in its precision; they are trained first if they are missing."""
        self.training(recipe, seed)
        folder, base = self._folder(recipe, seed) / recipe.kept, self._world.params.models
        return fusion.load(self._world.generator.slots, folder).to(base.device, models.dtype(base))

    def _train(self, recipe: Recipe, seed: int) -> None:
        """Train gates; save those of the lowest held-out loss and those of the last step, and then the facts."""
        world, params = self._world, params_of(self._world.params, recipe, seed)
        torch.manual_seed(seed)
        gates = fusion.build(world.generator.pipeline.transformer.config, params.variant)
        gates = gates.to(world.params.models.device)
        path = self._folder(recipe, seed) / "state.pt"
        is_trained = recipe.learning_rate is not None
        state = self._fit(gates, params, path, recipe.cell) if is_trained else None
        unseen: dict[Kept, float] = {}
        for kept in ("last step", "lowest held-out loss"):  # in this order: the second replaces the gates
            if state and kept == "lowest held-out loss":
                state.keep_best()
            fusion.save(gates, world.generator.slots, self._folder(recipe, seed) / kept)
            unseen[kept] = self._unseen_loss(gates)
        facts = {
            "held_out": {str(step): loss for step, loss in state.held_out} if state else {},
            "best_step": state.best_step if state else 0,
            "unseen": unseen,
        }
        write_atomic(self._folder(recipe, seed) / "training.json", json.dumps(facts))
        path.unlink(missing_ok=True)

    def _fit(self, gates: Gates, params: FusionParams, path: Path, cell: str) -> TrainingState:
        """Train the gates of a cell for all steps, and return the last state."""
        training, held_out = (
            self._objective(examples, params, CELLS[cell].distilled)
            for examples in (self._world.training, self._world.held_out)
        )
        checkpoint, finished = Checkpoint(path, hash_value([training_params(params), self._trained_on])), 0

        def record(done: int, steps: int, loss: float) -> None:
            nonlocal finished
            progress.advance(done - finished)  # more than one step if a killed training continues
            finished = done

        with Progress(f"gates {cell}, {params.seed}", params.steps, "steps") as progress:
            return fit(gates, training, params, record, held_out, checkpoint)

    def _objective(self, examples: TrainingSet, params: FusionParams, distilled: bool) -> TrainingLoss:
        """Return what a training lowers: the loss of Eq. 10, or the error against the method `velocity`."""
        world, variant = self._world, params.variant
        pipeline, generation = world.generator.pipeline, world.params.generation
        if not distilled:
            return make_objective(pipeline, examples, params)
        num_steps = generation.steps
        num_image_tokens = examples.encode_images(examples.adapters[0]).shape[1]
        sigmas = training_sigmas(pipeline, variant.flow_shift, num_image_tokens)
        steps = torch.linspace(0, len(sigmas), num_steps + 1)[:-1].long()
        files = base_files(world.root, world.params.models)
        drawn_from = [
            files,
            params.image_size,
            num_steps,
            FACTOR,
            variant.guidance,
            variant.flow_shift,
            params.seed,
        ]
        folder = world.cache / "trajectories" / hash_value(drawn_from)[:16]
        return Distillation(pipeline, examples, sigmas[steps], params, folder)

    def _unseen_loss(self, gates: Gates) -> float:
        """Return the loss of Eq. 10 on unseen adapters, with the preset `best`'s way of sampling for all gates."""
        world = self._world
        params: Any = replace(world.params.fusion, variant=FUSION["best"])
        tokens = world.unseen.encode_images(world.unseen.adapters[0]).shape[1]
        sigmas: Tensor = models.training_sigmas(world.generator.pipeline, tokens)
        objective = Interference(world.generator.pipeline.transformer, world.unseen, sigmas, params)
        return held_out_loss(gates, objective, seed=0)
