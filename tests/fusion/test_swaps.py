"""Sets of adapters that replace each other on one transformer: nothing of them stays."""

import gc
import hashlib
from typing import Any

import pytest
import torch

from autolora.fusion.global_lora import KEPT_SETS, GlobalLoras
from autolora.fusion.methods import attach
from autolora.params import METHODS
from tests.fusion.rules.adapters import adapter, load_gates
from tests.support.one_call import OneCall, build_transformer


class Swaps:
    """One pipeline on which sets replace each other, and what it was before the first."""

    def __init__(self) -> None:
        self.pipeline = OneCall(build_transformer(), step=6, steps=10)
        self.gates = load_gates()
        self.output, self.weights = self.pipeline(), hash_weights(self.pipeline.transformer)
        self.bytes: int | None = None
        """of all tensors of the process, after the first removal"""


@pytest.fixture(scope="module")
def swaps() -> Swaps:
    return Swaps()


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> GlobalLoras:
    kept = GlobalLoras(KEPT_SETS)
    monkeypatch.setattr("autolora.fusion.install.kept", kept)
    return kept


def hash_weights(transformer: Any) -> str:
    """Return a hash of the bytes of all weights."""
    content = hashlib.sha256()
    for name, value in sorted(transformer.state_dict().items()):
        content.update(name.encode() + value.numpy().tobytes())
    return content.hexdigest()


def tensor_bytes() -> int:
    """Return the bytes of all tensors of the process."""
    gc.collect()
    tensors = [value for value in gc.get_objects() if type(value) in (torch.Tensor, torch.nn.Parameter)]
    return sum({value.data_ptr(): value.untyped_storage().nbytes() for value in tensors}.values())


@pytest.mark.slow
@pytest.mark.long(full=50, sample=4)
def test_a_swap_leaves_the_base_bit_identical_and_no_memory(
    swaps: Swaps, kept: GlobalLoras, seed: int
) -> None:
    """Attach a set, replace it by another while it acts, and remove that, by each method."""
    first = [adapter(10 * seed + number, rank=1 + number) for number in range(2 + seed % 3)]
    second = [adapter(10 * seed + number) for number in range(5, 7)]
    for method in METHODS:
        with attach(swaps.pipeline, first, method, lambda: swaps.gates):
            acting = swaps.pipeline()
        with attach(swaps.pipeline, second, method, lambda: swaps.gates):
            replaced = swaps.pipeline()
        assert not torch.equal(acting, replaced) and not torch.equal(replaced, swaps.output)
        assert torch.equal(swaps.pipeline(), swaps.output)
        del acting, replaced
    assert hash_weights(swaps.pipeline.transformer) == swaps.weights
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in swaps.pipeline.transformer.modules()
    )
    assert 0 < len(kept) <= KEPT_SETS
    del first, second
    kept.clear()
    swaps.bytes = swaps.bytes or tensor_bytes()
    assert tensor_bytes() == swaps.bytes
