"""Made-up adapters to train gates with, in milliseconds: random latents and texts, a transformer of three blocks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.interference import Interference
from autolora.fusion.training import fit
from autolora.fusion.training_set import CaptionedAdapter, TrainingSet
from autolora.params import FusionParams, load
from autolora.presets import Preset
from autolora.presets.fusion import FUSION
from studies.released.presets import FUSION as RELEASED
from tests.support.tiny_flux import CONFIG, random_lora

PRESETS = {**FUSION, "released": RELEASED}
SHIPPED = load(Path(__file__).parents[2] / "params.yaml")
LORAS = {"a": random_lora(1), "b": random_lora(2), "c": random_lora(3)}
SIGMAS = torch.linspace(1, 0.01, 50)


def fusion_params(preset: Preset = "best", *, steps: int = 6, **overrides: object) -> FusionParams:
    """Return params for a short training; `overrides` replace fields of the preset's variant."""
    variant = replace(PRESETS[preset], **{"learning_rate": 0.005} | overrides)  # type: ignore[arg-type]
    return replace(SHIPPED.fusion, preset=preset, variant=variant, steps=steps, batch=4, image_size=32)


EXAMPLES = [
    CaptionedAdapter(
        sha256=sha256,
        family=f"family-{sha256}",
        images=("x", "y"),
        captions=((0, f"{sha256} x"), (0, f"one {sha256} x"), (1, f"{sha256} y")),
    )
    for sha256 in LORAS
]


def latents_of(example: CaptionedAdapter) -> torch.Tensor:
    return torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(ord(example.family[-1])))


def states_of(text: str) -> torch.Tensor:
    return torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(sum(text.encode())))


def encode_texts(texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    states = torch.cat([states_of(text) for text in texts])
    return states, states.mean(1)


def training_set(examples: Sequence[CaptionedAdapter] = EXAMPLES) -> TrainingSet:
    return TrainingSet(
        adapters=examples, load_lora=LORAS.__getitem__, encode_images=latents_of, encode_texts=encode_texts
    )


def objective_of(
    transformer: Any, params: FusionParams, examples: Sequence[CaptionedAdapter] = EXAMPLES
) -> Interference:
    return Interference(transformer, training_set(examples), SIGMAS, params)


def build_transformer() -> Any:
    """Return a transformer with random weights, frozen."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def train_gates(
    transformer: Any, params: FusionParams, examples: Sequence[CaptionedAdapter] = EXAMPLES
) -> tuple[Gates, list[float]]:
    """Return trained gates and the loss of each step."""
    torch.manual_seed(params.seed)
    gates = fusion.build(CONFIG, params.variant)
    steps: list[int] = []
    state = fit(
        gates, objective_of(transformer, params, examples), params, lambda done, *_: steps.append(done)
    )
    assert steps == list(range(1, params.steps + 1))
    return gates, state.losses
