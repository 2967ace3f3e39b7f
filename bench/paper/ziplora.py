"""ZipLoRA (Shah et al., 2311.13600), for comparison only: it is trained for each pair of adapters.

ΔW = ΔW_1 diag(m_1) + ΔW_2 diag(m_2), with a factor m per column that starts at 1. Trained is

    Σ_i ‖v(x_i, p_i; ΔW) - v(x_i, p_i; ΔW_i)‖² + λ Σ_slots mean |m_1 m_2|

on images x_i of adapter i with their captions p_i. The paper has it for the noise that SDXL predicts, here it is the
velocity. λ is 0.01, and there are 100 steps with learning rate 0.01; on the playground they shrink the factors. The
paper's regularizer is |m_1 · m_2|; the mean of |m_1 m_2| is that of a public re-implementation. The factors fold into
`down`, so updates keep their ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from autolora import models
from autolora.dataset.store import training_lock
from autolora.errors import MissingArtifact
from autolora.flow_matching import NoisedBatch, add_noise, predict_velocity
from autolora.fusion.examples import ExampleReader, find_examples
from autolora.fusion.install import find_linears, fused, hooked
from autolora.fusion.stage import base_files
from autolora.fusion.training_set import CaptionedAdapter, TrainingSet, sample_captions
from autolora.lora.factors import Factors, Lora
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from bench.paper.world import World

STEPS, BATCH, LEARNING_RATE, PENALTY = 100, 1, 0.01, 0.01
"""the last is λ"""
ColumnFactors = dict[str, Tensor]
"""slot -> m (d_in,)"""


def zipped(lora: Lora, factors: Mapping[str, Tensor]) -> Lora:
    """Return an adapter with the columns of its updates multiplied."""
    return {
        slot: replace(update, down=update.down * factors[slot].to(update.down))
        for slot, update in lora.items()
    }


@dataclass(frozen=True, slots=True)
class ZippedUpdates:
    """Adds the updates of a slot with trainable factors per column."""

    updates: Sequence[tuple[Factors, Tensor]]

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output with the updates, given the base output (..., d_out) for the input x (..., d_in)."""
        for update, factors in self.updates:
            scaled = x * factors.to(x.dtype)
            output = output + F.linear(F.linear(scaled, update.down), update.up) * update.scale
        return output

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Check that the updates are where the linear runs; `Zipper` has placed them."""
        for update, _ in self.updates:
            assert (update.down.device.type, update.down.dtype) == (device.type, dtype)


class Zipper:
    """Trains the factors of pairs, once each, in cache/paper/ziplora."""

    def __init__(self, world: World) -> None:
        self._world = world

    @cached_property
    def _examples(self) -> TrainingSet:
        root, params = self._world.root, self._world.params
        reader = ExampleReader(
            root,
            self._world.generator.pipeline,
            params.pool,
            base_files=base_files(root, params.models),
            size=params.fusion.image_size,
            tokens=params.generation.max_sequence_length,
        )
        return reader.training_set(find_examples(root, training_lock(root).rows))

    def updates(self, adapters: Sequence[str]) -> list[Lora]:
        """Return the updates of two adapters (sha256) with trained factors.

        Raises MissingArtifact if one has no captioned image.
        """
        generator = self._world.generator
        loras = [generator.load_lora(sha256) for sha256 in adapters]
        path = self._path(adapters)
        if not path.exists():
            write_atomic(path, save(_joined(self._fit(adapters, loras))))
        factors = load_file(path)
        return [
            zipped(lora, {slot: factors[f"{number}.{slot}"] for slot in lora})
            for number, lora in enumerate(loras)
        ]

    def _path(self, adapters: Sequence[str]) -> Path:
        base, section = self._world.params.models, self._world.params.fusion
        sizes = [STEPS, BATCH, LEARNING_RATE, PENALTY, section.image_size]
        made_from = [list(adapters), sizes, asdict(base)]
        return self._world.cache / "ziplora" / f"{hash_value(made_from)}.safetensors"

    def _fit(self, adapters: Sequence[str], loras: Sequence[Lora]) -> list[ColumnFactors]:
        """Return the factors of each adapter after the training."""
        pipeline, base = self._world.generator.pipeline, self._world.params.models
        transformer, dtype = pipeline.transformer, models.dtype(base)
        placed = [_placed(lora, transformer.device, dtype) for lora in loras]
        factors = [
            {slot: _ones(update, transformer.device) for slot, update in lora.items()} for lora in placed
        ]
        additions = _additions(transformer, placed, factors)
        examples = [self._find_example(sha256) for sha256 in adapters]
        sigmas = models.training_sigmas(pipeline, self._examples.encode_images(examples[0]).shape[1])
        optimizer = torch.optim.Adam([m for part in factors for m in part.values()], lr=LEARNING_RATE)
        rng = torch.Generator().manual_seed(0)
        transformer.requires_grad_(False)
        for _ in range(STEPS):
            optimizer.zero_grad()
            for lora, example in zip(placed, examples, strict=True):
                batch = self._noised(example, sigmas, rng)
                with torch.no_grad(), fused(transformer, [lora]):
                    alone = self._velocity(batch)
                with hooked(transformer, additions):
                    F.mse_loss(self._velocity(batch).float(), alone.float()).backward()  # type: ignore[no-untyped-call]
            (PENALTY * _overlap(factors)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return factors

    def _velocity(self, batch: NoisedBatch) -> Tensor:
        guidance = self._world.params.fusion.variant.guidance
        return predict_velocity(self._world.generator.pipeline.transformer, batch, guidance)

    def _find_example(self, sha256: str) -> CaptionedAdapter:
        for example in self._examples.adapters:
            if example.sha256 == sha256:
                return example
        raise MissingArtifact(
            f"ZipLoRA needs a captioned image of adapter {sha256}: run `dvc repro captions`"
        )

    def _noised(self, example: CaptionedAdapter, sigmas: Tensor, rng: torch.Generator) -> NoisedBatch:
        """Return random images of an adapter with random captions of theirs, noised at random levels."""
        captions = sample_captions(example, BATCH, rng)
        clean = self._examples.encode_images(example)[[image for image, _ in captions]]
        noise = torch.randn(clean.shape, generator=rng).to(clean.dtype)
        sigma = sigmas[torch.randint(len(sigmas), (BATCH,), generator=rng)]
        texts = self._examples.encode_texts([text for _, text in captions])
        return add_noise(clean, noise, sigma, texts, self._world.generator.pipeline.transformer.device)


def _placed(lora: Lora, device: torch.device, dtype: torch.dtype) -> Lora:
    return {
        slot: replace(update, down=update.down.to(device, dtype), up=update.up.to(device, dtype))
        for slot, update in lora.items()
    }


def _ones(update: Factors, device: torch.device) -> Tensor:
    return torch.ones(update.down.shape[1], device=device, requires_grad=True)


def _additions(
    transformer: Any, loras: Sequence[Lora], factors: Sequence[ColumnFactors]
) -> list[tuple[list[Any], ZippedUpdates]]:
    additions = []
    for slot, linear in find_linears(transformer, loras).items():
        parts = [(lora[slot], m[slot]) for lora, m in zip(loras, factors, strict=True) if slot in lora]
        additions.append(([linear], ZippedUpdates(parts)))
    return additions


def _overlap(factors: Sequence[ColumnFactors]) -> Tensor:
    """Return the sum over the slots that both adapters change of the mean |m_1 m_2|."""
    first, second = factors
    shared = [(first[slot] * second[slot]).abs().mean() for slot in first if slot in second]
    return torch.stack(shared).sum() if shared else torch.zeros((), requires_grad=True)


def _joined(factors: Sequence[ColumnFactors]) -> dict[str, Tensor]:
    return {
        f"{number}.{slot}": m.detach().cpu()
        for number, part in enumerate(factors)
        for slot, m in part.items()
    }
