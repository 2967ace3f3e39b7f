"""Hits fused into pipelines that are plain, hold PEFT's adapters, or are offloaded or quantized.

The quantized pipelines need the extra `quantized`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolora.generation.collection import Collection
from autolora.lora.slots import slots
from autolora.pool.weights import load_lora
from autolora.records import Hit
from tests.collection.images import assert_same_state, difference, draw, state
from tests.support.tiny_flux import CONFIG, random_lora, save_peft

Prepare = Callable[[Any, Path], None]


def load_peft(pipe: Any, folder: Path) -> None:
    pipe.load_lora_weights(str(save_peft(random_lora(77), folder / "turbo.safetensors")))


def fuse_peft(pipe: Any, folder: Path) -> None:
    load_peft(pipe, folder)
    pipe.fuse_lora()
    pipe.unload_lora_weights()


def offload_model(pipe: Any, folder: Path) -> None:
    from accelerate import cpu_offload_with_hook

    cpu_offload_with_hook(pipe.transformer, execution_device="cpu")


def offload_sequentially(pipe: Any, folder: Path) -> None:
    from accelerate import cpu_offload

    cpu_offload(pipe.transformer, execution_device=torch.device("cpu"), offload_buffers=True)
    assert pipe.transformer.transformer_blocks[0].attn.to_q.weight.is_meta


def offload_sequentially_with_peft(pipe: Any, folder: Path) -> None:
    load_peft(pipe, folder)
    offload_sequentially(pipe, folder)


def offload_groups(pipe: Any, folder: Path) -> None:
    pipe.transformer.enable_group_offload(
        onload_device=torch.device("cpu"), offload_device=torch.device("cpu"), offload_type="leaf_level"
    )


def quantize_by_torchao(pipe: Any, folder: Path) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(pipe.transformer, Int8WeightOnlyConfig())


def quantize_by_torchao_with_peft(pipe: Any, folder: Path) -> None:
    quantize_by_torchao(pipe, folder)
    load_peft(pipe, folder)


def replace_linears(pipe: Any, make: Callable[[torch.nn.Linear], torch.nn.Linear]) -> None:
    """Replace each linear of a slot, as quantization by bitsandbytes does."""
    for slot in slots(CONFIG):
        parent, _, name = slot.name.rpartition(".")
        linear = pipe.transformer.get_submodule(slot.name)
        quantized = make(linear)
        quantized.load_state_dict(linear.state_dict())
        setattr(pipe.transformer.get_submodule(parent), name, quantized.to("cpu").requires_grad_(False))


def quantize_to_8_bits(pipe: Any, folder: Path) -> None:
    nn = pytest.importorskip("bitsandbytes").nn
    replace_linears(pipe, lambda x: nn.Linear8bitLt(x.in_features, x.out_features, has_fp16_weights=False))


def quantize_to_4_bits(pipe: Any, folder: Path) -> None:
    nn = pytest.importorskip("bitsandbytes").nn
    replace_linears(pipe, lambda x: nn.Linear4bit(x.in_features, x.out_features))
    assert pipe.transformer.transformer_blocks[0].attn.to_q.weight.shape[1] == 1


def plain(pipe: Any, folder: Path) -> None:
    """Leave the pipeline as it is."""


EXACT: tuple[Prepare, ...] = (plain, offload_model, offload_sequentially, offload_groups)
"""ways to load a pipeline that do not change what it computes"""
CHANGED: tuple[Prepare, ...] = (
    load_peft, fuse_peft, offload_sequentially_with_peft, quantize_by_torchao, quantize_by_torchao_with_peft,
    quantize_to_8_bits, quantize_to_4_bits,
)  # fmt: skip
"""ways that change it: the reference is the same pipeline, with the updates added to the outputs by hand"""


@pytest.mark.parametrize("method", ["direct", "gated"])
@pytest.mark.parametrize("prepare", EXACT, ids=lambda prepare: prepare.__name__)
def test_image_is_that_of_a_plain_pipeline(
    collection: Collection, hits: list[Hit], pipe: Any, tmp_path: Path, prepare: Prepare, method: Any
) -> None:
    with collection.fuse(pipe, hits, method=method):
        expected = draw(pipe)
    prepare(pipe, tmp_path)
    before, base = state(pipe), draw(pipe)
    with collection.fuse(pipe, hits, method=method):
        assert np.array_equal(draw(pipe), expected)
    assert_same_state(state(pipe), before)
    assert np.array_equal(draw(pipe), base)
    assert difference(base, expected) > 5


@pytest.mark.parametrize("prepare", CHANGED, ids=lambda prepare: prepare.__name__)
def test_updates_are_added_to_what_the_pipeline_computes(
    collection: Collection, hits: list[Hit], pipe: Any, root: Path, tmp_path: Path, prepare: Prepare
) -> None:
    prepare(pipe, tmp_path)
    before, base = state(pipe), draw(pipe)
    with collection.fuse(pipe, hits, method="direct"):
        actual = draw(pipe)
    assert_same_state(state(pipe), before)
    assert np.array_equal(draw(pipe), base)
    handles = [
        pipe.transformer.get_submodule(name).register_forward_hook(added(factors, hit.strength))
        for hit in hits
        for name, factors in load_lora(root, hit.sha256, slots(CONFIG), collection.settings.pool).items()
    ]
    expected = draw(pipe)
    for handle in handles:
        handle.remove()
    assert difference(actual, expected) < 0.01
    assert difference(actual, base) > 5


def added(factors: Any, strength: float) -> Any:
    """Return a hook that adds strength · scale · x Aᵀ Bᵀ, as this test understands a LoRA."""
    return lambda module, inputs, output: (
        output + strength * factors.scale * (inputs[0] @ factors.down.T @ factors.up.T)
    )


@pytest.mark.parametrize("prepare", EXACT[1:], ids=lambda prepare: prepare.__name__)
def test_pipeline_may_be_offloaded_after_adapters_are_attached(
    collection: Collection, hits: list[Hit], pipe: Any, tmp_path: Path, prepare: Prepare
) -> None:
    collection.attach(pipe, hits, method="gated")
    expected = draw(pipe)
    prepare(pipe, tmp_path)
    assert np.array_equal(draw(pipe), expected)
    collection.detach(pipe)
    assert not any(module._forward_hooks for module in pipe.transformer.modules())
