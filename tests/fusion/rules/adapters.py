"""Random adapters of a tiny transformer, and what they do to one call by a method."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.methods import attach
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Factors, Lora
from autolora.params import Method
from autolora.presets.fusion import FUSION
from tests.support.one_call import OneCall
from tests.support.tiny_flux import CONFIG, random_lora

HALF_OPEN = replace(FUSION["best"], init_std=0.5, init_bias=0.0, relevance_weight=2.0)


def adapter(seed: int, rank: int = 4, share: float = 1.0) -> Adapter:
    """Return a random adapter; share: of the slots that it changes."""
    return Adapter(f"{seed:064x}", random_lora(seed, rank=rank, share=share), relevance=0.2 * seed)


def load_gates() -> Gates:
    torch.manual_seed(1)
    return fusion.build(CONFIG, HALF_OPEN).requires_grad_(False)


def run(pipeline: OneCall, adapters: Sequence[Adapter], method: Method) -> Tensor:
    """Return the output (2, 4, 16) of a call with adapters."""
    with attach(pipeline, adapters, method, load_gates):
        return pipeline()


def scaled_up(lora: Lora, factor: float) -> Lora:
    """Return a LoRA as another file would hold it: `up` is multiplied, the scale is as it was."""
    return {name: Factors(factors.down, factors.up * factor, factors.scale) for name, factors in lora.items()}
