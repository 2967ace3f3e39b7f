"""A whole image with several adapters: diffusers with PEFT, the plain sum, and gates."""

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from autolora import models
from autolora.fusion import store
from autolora.fusion.install import fused
from autolora.generation.images import generate_images
from autolora.lora.factors import Factors, Lora
from autolora.lora.slots import Slot, slots
from autolora.params import load
from bench.timing import cpu_timed

PROMPT = "a cat in mosaic style"
RANK = 8


def compare_images(root: Path, count: int, rounds: int) -> dict[str, float]:
    """Return the times of an image relative to PEFT's, and the pixels in which the plain sum differs from it."""
    params = load(root / "params.yaml")
    base = replace(params.models, pipeline=str(root / params.models.pipeline), threads=1)
    pipeline, with_peft = models.load_pipeline(base), models.load_pipeline(base)
    loras = [random_lora(slots(pipeline.transformer.config), seed) for seed in range(count)]
    for index, lora in enumerate(loras):
        with_peft.load_lora_weights(peft_tensors(lora), adapter_name=str(index))
    with_peft.set_adapters([str(index) for index in range(count)])
    gates = store.build(pipeline.transformer.config, params.fusion.variant).requires_grad_(False)
    generation = replace(params.generation, batch=1)

    def draw(of: Any, attach: Callable[[], Any]) -> Image.Image:
        with attach():
            return generate_images(of, [PROMPT], [0], generation)[0]

    runs: dict[str, Callable[[], Image.Image]] = {
        "peft": lambda: draw(with_peft, nullcontext),
        "base": lambda: draw(pipeline, nullcontext),
        "direct": lambda: draw(pipeline, lambda: fused(pipeline.transformer, loras)),
        "gated": lambda: draw(
            pipeline,
            lambda: fused(pipeline.transformer, loras, gates=gates, sha256=list(map(str, range(count)))),
        ),
    }
    images = {name: np.asarray(run()) for name, run in runs.items()}
    seconds = [{name: cpu_timed(run)[0] for name, run in runs.items()} for _ in range(rounds)]
    ratios = {
        name: statistics.median(row[name] / row["peft"] for row in seconds)
        for name in ("base", "direct", "gated")
    }
    differing = (images["direct"] != images["peft"]).any(-1).sum()
    return ratios | {
        "peft_s": statistics.median(row["peft"] for row in seconds),
        "differing_pixels": int(differing),
    }


def random_lora(known: tuple[Slot, ...], seed: int) -> Lora:
    """Return a small random update of every slot."""
    generator = torch.Generator().manual_seed(seed)
    return {
        slot.name: Factors(
            down=torch.randn(RANK, slot.d_in, generator=generator) / slot.d_in**0.5,
            up=0.02 * torch.randn(slot.d_out, RANK, generator=generator),
            scale=1.0,
        )
        for slot in known
    }


def peft_tensors(lora: Lora) -> dict[str, torch.Tensor]:
    """Return a LoRA in the layout that diffusers reads."""
    tensors = {}
    for name, factors in lora.items():
        tensors[f"transformer.{name}.lora_A.weight"] = factors.down.clone()
        tensors[f"transformer.{name}.lora_B.weight"] = factors.up.clone()
    return tensors
