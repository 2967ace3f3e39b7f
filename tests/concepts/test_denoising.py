"""Gradients of captioned images: the mean over noise, which depends on an image and not on its batch."""

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from autolora.concepts.denoising import GUIDANCE, NEUTRAL, DenoisingGradients
from autolora.flow_matching import add_noise, encode_captions, encode_images, predict_velocity
from autolora.lora.sketch import SketchSpec, signs
from autolora.lora.slots import slots
from tests.concepts.corpora import encoded
from tests.support.small_root import params
from tests.support.tiny_flux import CONFIG, TOKENS, build_pipeline

PARAMS = replace(params().concepts, image_size=32, noise_levels=(0.2, 0.7), draws=1)
SPEC = SketchSpec(8)
IMAGES = {name: Image.open(io.BytesIO(encoded(seed))) for seed, name in enumerate("abc")}
EXACT, HALF = 1e-4, 0.2
"""largest relative distance of equal gradients: of float32 in another order, and of bfloat16"""


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return build_pipeline()


def compute(pipeline: Any, names: str, prompt: str = NEUTRAL, **changes: Any) -> Tensor:
    """Return the gradients of some of the images, all with the same prompt."""
    gradients = DenoisingGradients(pipeline, replace(PARAMS, **changes), SPEC, TOKENS)
    return gradients.compute([IMAGES[name] for name in names], list(names), [prompt] * len(names))


def distance(gradient: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the norm of what is expected."""
    return float((gradient - expected).norm() / expected.norm())


def test_the_gradient_is_that_of_the_flow_matching_loss(pipeline: Any) -> None:
    """The loss of one image at one noise level, differentiated by autograd with respect to one weight."""
    seen = []

    def record(module: Any, inputs: Any, values: Any) -> None:
        seen.append(values["hidden_states"])

    handle = pipeline.transformer.register_forward_pre_hook(record, with_kwargs=True)
    computed = compute(pipeline, "a", "a cat", noise_levels=(0.5,))
    handle.remove()
    clean = encode_images(pipeline, [IMAGES["a"]], 32)
    noise = (seen[0] - 0.5 * clean) / 0.5
    assert noise.std() == pytest.approx(1, abs=0.3)
    captions = encode_captions(pipeline, ["a cat"], TOKENS)
    batch = add_noise(clean, noise, torch.tensor([0.5]), captions, clean.device)
    slot = slots(CONFIG)[0]
    weight = pipeline.transformer.get_submodule(slot.name).weight.requires_grad_()
    loss = (predict_velocity(pipeline.transformer, batch, GUIDANCE) - batch.velocity).square().mean()
    (gradient,) = torch.autograd.grad(loss, [weight])
    weight.requires_grad_(False)
    left, right = signs(f"S|{slot.name}", slot.d_out, 8), signs(f"Q|{slot.fused}", slot.d_in, 8)
    assert distance(computed[0, 0], -(left.T @ gradient @ right) / 8) < EXACT


def test_a_gradient_does_not_depend_on_its_batch(pipeline: Any) -> None:
    together = compute(pipeline, "abc")
    for index, name in enumerate("abc"):
        assert distance(compute(pipeline, name)[0], together[index]) < EXACT
    assert together.shape == (3, len(slots(CONFIG)), 8, 8)


def test_it_is_the_mean_over_noise_levels(pipeline: Any) -> None:
    low, high = (compute(pipeline, "a", noise_levels=(level,)) for level in PARAMS.noise_levels)
    assert distance(compute(pipeline, "a"), (low + high) / 2) < EXACT


@pytest.mark.parametrize("change", [{"seed": 1}, {"draws": 2}, {"noise_levels": (0.2, 0.71)}])
def test_noise_follows_from_seed_draws_and_levels(pipeline: Any, change: dict[str, Any]) -> None:
    assert torch.equal(compute(pipeline, "a"), compute(pipeline, "a"))
    assert distance(compute(pipeline, "a", **change), compute(pipeline, "a")) > 10 * EXACT


def test_prompts_matter(pipeline: Any) -> None:
    assert distance(compute(pipeline, "a", "a cat"), compute(pipeline, "a")) > 10 * EXACT
    mixed = DenoisingGradients(pipeline, PARAMS, SPEC, TOKENS).compute(
        list(IMAGES.values())[:2], ["a", "b"], [NEUTRAL, "a cat"]
    )
    assert distance(mixed[0], compute(pipeline, "a")[0]) < EXACT


def test_a_base_in_half_precision_gives_nearly_the_same(pipeline: Any) -> None:
    exact = compute(pipeline, "a")
    half = compute(build_pipeline().to(torch.bfloat16), "a")
    assert half.dtype == torch.float32
    assert distance(half, exact) < HALF
