"""The fusion of one slot: the base output plus the adapters' updates, summed or gated."""

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.gate import Gate
from autolora.fusion.gated_pass import GatedPass, Scored
from autolora.lora.factors import Factors


def update(factors: Factors, x: Tensor) -> Tensor:
    """Return L = s · x Aᵀ Bᵀ, (..., d_out), for inputs x (..., d_in)."""
    return F.linear(F.linear(x, factors.down), factors.up).mul_(factors.scale)


class SlotFusion:
    """Adds adapters to the output of one slot, on the device and in the precision of each call.

    Offloading, quantization and `pipeline.to` decide at a call where and in which precision a linear runs. So what the
    adapters need is placed before the first call, and again if a call is elsewhere.

    A frozen gate has a faster pass, which computes the same without gradients.
    """

    def __init__(self, stored: Sequence[Scored], gate: Gate | None) -> None:
        """stored: per adapter. gate: None sums the updates."""
        self.stored, self.gate = stored, gate
        self.has_fast_pass = gate is not None and not any(value.requires_grad for value in gate.parameters())
        self.place: tuple[torch.device, torch.dtype] | None = None
        self.fast_pass: GatedPass | None = None
        self.placed: tuple[list[Scored], Gate | None] | None = None

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the fused output, given the base output (..., d_out) for the input x (..., d_in)."""
        x = x.to(output.device)  # as accelerate does for the linear itself
        if self.place != (x.device, x.dtype):
            self.move(x.device, x.dtype)
        if self.fast_pass is not None and not _needs_gradient(output, x):
            return self.fast_pass(output, x)
        self.placed = self.placed or self._placed(x.device, x.dtype)
        scored, gate = self.placed
        updates = ((update(factors, x), relevance) for factors, relevance in scored)
        if gate is not None:
            gated: Tensor = gate(output, updates)
            return gated
        return _sum(output, updates)

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the updates on a device in a precision, and the gate on the device in its own precision."""
        self.place = (device, dtype)
        self.fast_pass, self.placed = None, None
        if self.gate is not None and self.has_fast_pass:
            self.fast_pass = GatedPass(self.stored, self.gate, device, dtype)
        else:
            self.placed = self._placed(device, dtype)

    def _placed(self, device: torch.device, dtype: torch.dtype) -> tuple[list[Scored], Gate | None]:
        """Return the updates with their relevance, and the gate, on a device."""
        gate = self.gate
        if gate is not None and gate.bias.device != device:
            gate = copy.deepcopy(gate).to(device)  # the caller's gates stay where they are
        scored = [(place(factors, device, dtype), score.to(device)) for factors, score in self.stored]
        return scored, gate


def _sum(output: Tensor, updates: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the output with the updates added, one after the other as PEFT adds them."""
    total: Tensor | None = None
    for value, _ in updates:
        total = output + value if total is None else total.add_(value)
    return output if total is None else total


def _needs_gradient(*tensors: Tensor) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def place(factors: Factors, device: torch.device, dtype: torch.dtype) -> Factors:
    """Return the factors on a device in a precision."""
    return Factors(down=factors.down.to(device, dtype), up=factors.up.to(device, dtype), scale=factors.scale)
