"""Adapters on transformers that other libraries have wrapped, quantized, fused or compiled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autolora.errors import MismatchError
from autolora.fusion import store as fusion
from autolora.fusion.install import find_linear, fused, is_compiled
from tests.fusion.test_install import RANDOM, run
from tests.support.tiny_flux import CONFIG, random_lora, save_peft

QUERY = "transformer_blocks.0.attn.to_q"
LORAS = [random_lora(1), random_lora(2, rank=5, share=0.5)]


class PackedLinear(nn.Linear):
    """A linear whose weight is stored as bytes in one column, as bitsandbytes stores 4-bit weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None)
        packed = linear.weight.detach().contiguous().view(torch.uint8).reshape(-1, 1)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.view(-1).view(torch.float32).view(self.out_features, self.in_features)
        return nn.functional.linear(x, weight, self.bias)


@pytest.fixture
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def run_fused(transformer: Any, *, gated: bool = False) -> Tensor:
    """Return the transformer's output with LORAS."""
    torch.manual_seed(1)
    gates = fusion.build(CONFIG, RANDOM) if gated else None
    with fused(transformer, LORAS, gates=gates):
        return run(transformer)


def load_peft(transformer: Any, folder: Path, seed: int, **config: Any) -> None:
    """Give the transformer an adapter of PEFT, as `pipeline.load_lora_weights` does."""
    file = save_peft(random_lora(seed), folder / f"{seed}.safetensors")
    transformer.load_lora_adapter(str(file), prefix="transformer", **config)


@pytest.mark.parametrize("gated", [False, True])
def test_order_of_loading_with_peft_does_not_matter(transformer: Any, tmp_path: Path, gated: bool) -> None:
    plain, without = run(transformer), run_fused(transformer, gated=gated)
    torch.manual_seed(1)
    gates = fusion.build(CONFIG, RANDOM) if gated else None
    with fused(transformer, LORAS, gates=gates):
        load_peft(transformer, tmp_path, 7)
        loaded_after = run(transformer)
        transformer.unload_lora()
        assert torch.equal(run(transformer), without)
    assert torch.equal(run(transformer), plain)
    load_peft(transformer, tmp_path, 7)
    alone = run(transformer)
    assert torch.equal(run_fused(transformer, gated=gated), loaded_after)
    assert torch.equal(run(transformer), alone) and not torch.equal(alone, plain)
    assert (loaded_after - without).abs().max() > 0.01


def test_adapters_of_peft_stay_active(transformer: Any, tmp_path: Path) -> None:
    with fused(transformer, [random_lora(7), *LORAS]):
        expected = run(transformer)
    load_peft(transformer, tmp_path, 7)
    torch.testing.assert_close(run_fused(transformer), expected, atol=1e-5, rtol=1e-5)
    transformer.fuse_lora()
    torch.testing.assert_close(run_fused(transformer), expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_of_peft_that_scales_the_output_is_an_error_until_it_is_merged(transformer: Any) -> None:
    from peft import LoraConfig

    transformer.add_adapter(LoraConfig(r=2, target_modules=["to_q"], use_dora=True))
    with pytest.raises(MismatchError, match="DoRA"):
        find_linear(transformer, QUERY)
    transformer.get_submodule(QUERY).merge()
    assert isinstance(find_linear(transformer, QUERY), nn.Linear)


@pytest.mark.parametrize("gated", [False, True])
def test_widths_are_those_of_the_linear_not_of_a_packed_weight(transformer: Any, gated: bool) -> None:
    expected = run_fused(transformer, gated=gated)
    for slot in random_lora(1):
        parent, _, name = slot.rpartition(".")
        setattr(transformer.get_submodule(parent), name, PackedLinear(transformer.get_submodule(slot)))
    assert transformer.get_submodule(QUERY).weight.shape == (4 * 32 * 32, 1)
    assert torch.equal(run_fused(transformer, gated=gated), expected)


def test_error_tells_what_is_there_instead_of_a_linear(transformer: Any) -> None:
    transformer.transformer_blocks[0].attn.to_q = nn.Identity()
    with pytest.raises(MismatchError, match=r"'transformer_blocks\.0\.attn\.to_q' .* is a Identity"):
        run_fused(transformer)
    with pytest.raises(MismatchError, match="does not have"):
        find_linear(transformer, "transformer_blocks.9.attn.to_q")


def test_projections_that_diffusers_has_fused_are_an_error(transformer: Any) -> None:
    transformer.fuse_qkv_projections()
    with pytest.raises(MismatchError, match="unfuse_qkv_projections"):
        run_fused(transformer)
    transformer.unfuse_qkv_projections()
    run_fused(transformer)


def compile_module(transformer: Any) -> Any:
    transformer.compile(backend="eager")
    return transformer


def compile_blocks(transformer: Any) -> Any:
    transformer.compile_repeated_blocks(backend="eager")
    return transformer


def compile_forward(transformer: Any) -> Any:
    transformer.forward = torch.compile(transformer.forward, backend="eager")
    return transformer


def wrap(transformer: Any) -> Any:
    return torch.compile(transformer, backend="eager")


@pytest.mark.parametrize("compile_", [compile_module, compile_blocks, compile_forward, wrap])
def test_every_form_of_compilation_is_recognized(transformer: Any, compile_: Callable[[Any], Any]) -> None:
    assert not is_compiled(transformer)
    assert is_compiled(compile_(transformer))


@pytest.mark.slow
def test_compiled_code_is_compiled_again(transformer: Any) -> None:
    plain, expected = run(transformer), run_fused(transformer)
    compiled = wrap(transformer)
    torch.testing.assert_close(run(compiled), plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run_fused(compiled), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(run(compiled), plain, atol=1e-5, rtol=1e-5)
    assert (plain - expected).abs().max() > 0.01


def test_updates_follow_the_precision_of_the_input_and_leave_the_gates_alone(transformer: Any) -> None:
    torch.manual_seed(1)
    gates = fusion.build(CONFIG, RANDOM)
    with fused(transformer, LORAS, gates=gates):
        exact = run(transformer)
        half = run(transformer.bfloat16())
        assert half.dtype == torch.bfloat16
        assert torch.cosine_similarity(half.float().flatten(), exact.flatten(), dim=0) > 0.99
    assert {parameter.dtype for parameter in gates.parameters()} == {torch.float32}
