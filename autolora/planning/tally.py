"""Counting of what a computation does, on the meta device: operations, memory traffic, calls and peak memory.

Tensors on the meta device have shapes and no values, so a model of any size is built and run in a second.
"""

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True, slots=True)
class Tally:
    """What a computation does. Tallies of parts are added, and multiplied by how often a part occurs."""

    flops: float = 0.0
    """multiplications and additions of matrix products, convolutions and attention"""
    traffic: float = 0.0
    """bytes that all calls read and write, none of them kept in a cache"""
    calls: float = 0.0
    """of kernels; views of tensors count too"""
    peak: float = 0.0
    """bytes of the tensors that exist at the same time, without inputs and weights"""

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Tally") -> "Tally":
        return self + other * -1

    def __mul__(self, times: float) -> "Tally":
        return Tally(*(value * times for value in astuple(self)))


def count(run: Callable[[], object]) -> Tally:
    """Return what a call does. `run` works on tensors of the meta device, which is the default device inside."""
    counter = _Counter()
    with ExitStack() as stack:
        stack.enter_context(torch.device("meta"))
        stack.enter_context(_FusedAttention())
        stack.enter_context(counter)
        run()
    return Tally(counter.flops, counter.traffic, counter.calls, counter.peak)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts every call below autograd, so that of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own
        self.flops, self.traffic, self.calls, self.live, self.peak = 0.0, 0.0, 0, 0, 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()
        """storages of inputs, and of results that exist"""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        inputs = _tensors((args, kwargs))
        self.known.update(tensor.untyped_storage() for tensor in inputs)
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=result)
        outputs = _tensors(result)
        allocated = sum(self._allocate(tensor) for tensor in outputs)
        if allocated or func._schema.is_mutable:
            self.traffic += sum(tensor.nbytes for tensor in (*inputs, *outputs))
        return result

    def _allocate(self, tensor: Tensor) -> bool:
        """Return whether a result has memory of its own; it is counted until it is freed."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return False
        self.known.add(storage)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, storage.nbytes())
        return True

    def _free(self, size: int) -> None:
        self.live -= size


class _FusedAttention(TorchFunctionMode):
    """Attention as one kernel, as on every device but this one, where torch would form the matrix of all pairs."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, groups = named["query"], named["query"].shape[-3] // named["key"].shape[-3]
        key, value = (named[name].repeat_interleave(groups, -3) for name in ("key", "value"))
        return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, None, True)[0]


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
