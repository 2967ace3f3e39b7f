"""The fusion of one slot: the base output plus the adapters' updates, summed or gated."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.gate import Gate
from autolora.fusion.global_lora import global_update
from autolora.lora.factors import Factors

Scored = tuple[Factors, Tensor]
"""an adapter's update of one slot, and the adapter's relevance, () or (B,)"""
MAX_TOKENS = 64
"""of an image, for which the means of the gates are computed"""


def update(factors: Factors, x: Tensor) -> Tensor:
    """Return L = s · x Aᵀ Bᵀ, (..., d_out), for inputs x (..., d_in)."""
    return F.linear(F.linear(x, factors.down), factors.up) * factors.scale


class SlotFusion:
    """Adds adapters to the output of one slot, on the device and in the precision of each call.

    Offloading, quantization and `pipeline.to` decide at a call where and in which precision a linear runs. So what the
    adapters need is placed before the first call, and again if a call is elsewhere.
    """

    def __init__(self, stored: Sequence[Scored], gate: Gate | None, global_rank: int) -> None:
        """stored: per adapter. gate: None sums the updates.

        global_rank: rank of the global LoRA (Eq. 9), one more update with relevance 0; 0 for none.
        """
        self.stored, self.gate, self.global_rank = stored, gate, global_rank
        self.place: tuple[torch.device, torch.dtype] | None = None
        self.placed: tuple[list[Scored], Gate | None] = ([], None)

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the fused output, given the base output (..., d_out) for the input x (..., d_in)."""
        x = x.to(output.device)  # as accelerate does for the linear itself
        if self.place != (x.device, x.dtype):
            self.move(x.device, x.dtype)
        scored, gate = self.placed
        updates = ((update(factors, x), relevance) for factors, relevance in scored)
        if gate is not None:
            gated: Tensor = gate(output, updates)
            return gated
        for value, _ in updates:
            output = output + value
        return output

    def gate_means(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the mean gate of each adapter, and last of the global LoRA if there is one, (k,), over MAX_TOKENS.

        The tokens are evenly spaced; arguments as a call. Needs a gate.
        """
        x = x.to(output.device)
        if self.place != (x.device, x.dtype):
            self.move(x.device, x.dtype)
        scored, gate = self.placed
        assert gate is not None
        output, x = _sampled(output), _sampled(x)
        values = gate.gate_values(output, ((update(factors, x), relevance) for factors, relevance in scored))
        return torch.stack([value.float().mean() for value in values])

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the updates on a device in a precision, and the gate on the device in its own precision."""
        scored = [(_to(factors, device), score.to(device)) for factors, score in self.stored]
        if self.global_rank:
            joint = global_update([factors for factors, _ in scored], self.global_rank)
            scored += [] if joint is None else [(joint, torch.zeros((), device=device))]
        gate = self.gate
        if gate is not None and gate.bias.device != device:
            gate = copy.deepcopy(gate).to(device)  # the caller's gates stay where they are
        self.placed = ([(_to(factors, dtype), score) for factors, score in scored], gate)
        self.place = (device, dtype)


def _sampled(values: Tensor) -> Tensor:
    """Return at most MAX_TOKENS evenly spaced tokens of values (B, T, d); values (B, d) as they are."""
    return values if values.dim() < 3 else values[:, :: -(-values.shape[1] // MAX_TOKENS)]


def _to(factors: Factors, target: torch.device | torch.dtype) -> Factors:
    """Return the factors on a device, or in a precision."""
    return Factors(down=factors.down.to(target), up=factors.up.to(target), scale=factors.scale)
