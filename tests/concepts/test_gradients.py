"""Gradient sketches equal the sketched gradients of autograd, for every slot and each sample of a batch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.concepts.gradients import GradientSketcher
from autolora.errors import MismatchError
from autolora.lora.factors import Factors
from autolora.lora.sketch import SketchSpec, sketch
from autolora.lora.slots import slots
from tests.support.tiny_flux import CONFIG

SPEC = SketchSpec(8)
SLOTS = slots(CONFIG)
BATCH = 3


@pytest.fixture
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def losses(transformer: Any, samples: slice = slice(None)) -> Callable[[], Tensor]:
    """Return a function that runs the transformer on a random batch, and gives a loss for each of its samples."""
    generator = torch.Generator().manual_seed(1)
    image, text, pooled = (
        torch.randn(BATCH, *shape, generator=generator) for shape in ((4, 16), (5, 16), (16,))
    )
    target = torch.randn(BATCH, 4, 16, generator=generator)
    sigma = torch.tensor([0.1, 0.5, 0.9])
    kind = transformer.dtype

    def run() -> Tensor:
        velocity = transformer(
            hidden_states=image[samples].to(kind),
            encoder_hidden_states=text[samples].to(kind),
            pooled_projections=pooled[samples].to(kind),
            timestep=sigma[samples].to(kind),
            guidance=torch.ones(BATCH)[samples],
            txt_ids=torch.zeros(5, 3),
            img_ids=torch.zeros(4, 3),
            return_dict=False,
        )[0]
        return (velocity.float() - target[samples]).square().mean(dim=(1, 2))

    return run


def sketch_of_autograd(transformer: Any, sample: int) -> Tensor:
    """Return the sketch (S, m, p) of -∂L/∂W of one sample, from autograd's gradients of all weights."""
    weights = [transformer.get_submodule(slot.name).weight.requires_grad_() for slot in SLOTS]
    (loss,) = losses(transformer, slice(sample, sample + 1))()
    gradients = torch.autograd.grad(loss, weights)
    transformer.requires_grad_(False)
    update = {
        slot.name: Factors(down=torch.eye(slot.d_in), up=-gradient, scale=1.0)
        for slot, gradient in zip(SLOTS, gradients, strict=True)
    }
    return sketch(update, SLOTS, SPEC).values


def test_equal_the_sketched_gradients_of_autograd(transformer: Any) -> None:
    computed = GradientSketcher(transformer, SLOTS, SPEC).sketch(losses(transformer))
    expected = torch.stack([sketch_of_autograd(transformer, sample) for sample in range(BATCH)])
    assert (expected.flatten(2).norm(dim=2) > 0).all(), "each slot has a gradient"
    scale = expected.flatten(2).norm(dim=2)[:, :, None, None]
    torch.testing.assert_close(computed / scale, expected / scale, atol=1e-5, rtol=0)


def test_gradient_checkpointing_changes_nothing(transformer: Any) -> None:
    sketcher = GradientSketcher(transformer, SLOTS, SPEC)
    plain = sketcher.sketch(losses(transformer))
    transformer.enable_gradient_checkpointing()
    transformer.train()
    torch.testing.assert_close(sketcher.sketch(losses(transformer)), plain)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_point_the_same_way_on_a_base_in_half_precision(transformer: Any, kind: torch.dtype) -> None:
    exact = GradientSketcher(transformer, SLOTS, SPEC).sketch(losses(transformer))
    rounded = GradientSketcher(transformer.to(kind), SLOTS, SPEC).sketch(losses(transformer))
    assert rounded.dtype == torch.float32
    cosines = torch.cosine_similarity(exact.flatten(2), rounded.flatten(2), dim=2)
    assert cosines.min() > 0.98


def test_leave_the_transformer_as_it_was(transformer: Any) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    sketcher = GradientSketcher(transformer, SLOTS, SPEC)
    first, second = (sketcher.sketch(losses(transformer)) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert all(parameter.grad is None for parameter in transformer.parameters())
    assert not any(module._forward_hooks for module in transformer.modules())


def test_a_failed_pass_leaves_no_hook(transformer: Any) -> None:
    def fail() -> Tensor:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        GradientSketcher(transformer, SLOTS, SPEC).sketch(fail)
    assert not any(module._forward_hooks for module in transformer.modules())


def test_a_linear_that_the_loss_does_not_use_has_no_gradient(transformer: Any) -> None:
    text = transformer.get_submodule("transformer_blocks.0.ff_context")
    text.register_forward_hook(lambda module, inputs, output: output.detach())
    computed = GradientSketcher(transformer, SLOTS, SPEC).sketch(losses(transformer))
    norms = dict(zip((slot.name for slot in SLOTS), computed.flatten(2).norm(dim=2).sum(dim=0), strict=True))
    unused = [name for name, norm in norms.items() if norm == 0]
    assert unused == ["transformer_blocks.0.ff_context.net.0.proj", "transformer_blocks.0.ff_context.net.2"]


def test_gradients_that_are_not_finite_are_an_error(transformer: Any) -> None:
    with torch.no_grad():
        transformer.proj_out.weight.fill_(float("inf"))
    with pytest.raises(MismatchError, match=r"not finite: load it with models\.dtype"):
        GradientSketcher(transformer, SLOTS, SPEC).sketch(losses(transformer))


def test_another_base_is_an_error(transformer: Any) -> None:
    with pytest.raises(MismatchError, match=r"does not have the linear 'transformer_blocks\.1\.attn\.to_q'"):
        GradientSketcher(transformer, slots(CONFIG | {"num_layers": 2}), SPEC)
    with pytest.raises(
        MismatchError, match=r"'transformer_blocks\.0\.attn\.to_q' .* not a linear .* 64 × 64"
    ):
        GradientSketcher(transformer, slots(CONFIG | {"num_attention_heads": 4}), SPEC)
