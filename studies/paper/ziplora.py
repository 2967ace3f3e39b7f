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
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora import models
from autolora.fusion.install import Attachment, find_linears, fused, hooked
from autolora.lora.factors import Factors, Lora
from autolora.storage.hashes import hash_value
from autolora.storage.tensor_files import load_or_compute
from studies.paper.own_images import OwnImages
from studies.paper.world import World

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


class ZipLora:
    """Trains the factors of pairs, once each, in cache/paper/ziplora: a `TrainedFusion`."""

    facts: Mapping[str, Any] = {"is_zipped": True}

    def __init__(self, world: World) -> None:
        self._world, self._own_images = world, OwnImages(world)

    def attach(self, adapters: Sequence[str]) -> Attachment:
        """Let two adapters act by their factors; errors as `TrainedFusion.attach`."""
        return fused(self._world.generator.pipeline.transformer, self.updates(adapters))

    def updates(self, adapters: Sequence[str]) -> list[Lora]:
        """Return the updates of two adapters (sha256) with trained factors; raises as `OwnImages.find`."""
        loras = [self._world.generator.load_lora(sha256) for sha256 in adapters]
        base, image_size = self._world.params.models, self._world.params.fusion.image_size
        made_from = [list(adapters), [STEPS, BATCH, LEARNING_RATE, PENALTY, image_size], asdict(base)]
        path = self._world.cache / "ziplora" / f"{hash_value(made_from)}.safetensors"
        factors = load_or_compute(path, lambda: _joined(self._fit(adapters, loras)))
        return [
            zipped(lora, {slot: factors[f"{number}.{slot}"] for slot in lora})
            for number, lora in enumerate(loras)
        ]

    def _fit(self, adapters: Sequence[str], loras: Sequence[Lora]) -> list[ColumnFactors]:
        """Return the factors of each adapter after the training."""
        transformer = self._world.generator.pipeline.transformer
        dtype = models.dtype(self._world.params.models)
        placed = [_placed(lora, transformer.device, dtype) for lora in loras]
        factors = [
            {slot: _ones(update, transformer.device) for slot, update in lora.items()} for lora in placed
        ]
        additions = _additions(transformer, placed, factors)
        own, examples = self._own_images, [self._own_images.find(sha256) for sha256 in adapters]
        optimizer = torch.optim.Adam([m for part in factors for m in part.values()], lr=LEARNING_RATE)
        rng = torch.Generator().manual_seed(0)
        transformer.requires_grad_(False)
        for _ in range(STEPS):
            optimizer.zero_grad()
            for lora, example in zip(placed, examples, strict=True):
                batch = own.sample(example, BATCH, rng)
                with torch.no_grad(), fused(transformer, [lora]):
                    alone = own.velocity(batch)
                with hooked(transformer, additions):
                    F.mse_loss(own.velocity(batch), alone).backward()  # type: ignore[no-untyped-call]
            (PENALTY * _overlap(factors)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return factors


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
    return {f"{number}.{slot}": m for number, part in enumerate(factors) for slot, m in part.items()}
