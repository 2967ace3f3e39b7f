"""Updates that are merged entry by entry: the result has full rank, so each slot adds one dense matrix.

For FLUX.1-dev these matrices are as large as the transformer, 24 GB in bfloat16; they are merged on the device and
stored in the precision of the transformer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.install import Attachment, execution_device, find_linears, hooked
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Factors, delta

Merge = Callable[[str, Mapping[str, Tensor]], Tensor]
"""slot, and sha256 -> ΔW (d_out, d_in) in float32 of the adapters that change it -> their merged update"""


class DenseUpdate:
    """Adds x ΔWᵀ to the output of one slot, on the device and in the precision of each call."""

    def __init__(self, weight: Tensor) -> None:
        """weight: ΔW, (d_out, d_in)."""
        self._stored = self._placed = weight

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output with the update, given the base output (..., d_out) for the input x (..., d_in)."""
        x = x.to(output.device)
        if (self._placed.device, self._placed.dtype) != (x.device, x.dtype):
            self.move(x.device, x.dtype)
        return output + F.linear(x, self._placed)

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the update on a device in a precision."""
        self._placed = self._stored.to(device, dtype)


def attach_merged(pipeline: Any, adapters: Sequence[Adapter], merge: Merge) -> Attachment:
    """Let the merged updates of adapters act in a pipeline; return what removes them. Errors as `fused`."""
    transformer = pipeline.transformer
    linears = find_linears(transformer, [adapter.lora for adapter in adapters])
    dtype = transformer.dtype
    additions = []
    for name, linear in linears.items():
        device = execution_device(transformer, linear)
        deltas = {
            adapter.sha256: delta_on(device, adapter.lora[name])
            for adapter in adapters
            if name in adapter.lora
        }
        additions.append(([linear], DenseUpdate(merge(name, deltas).to(dtype))))
    return hooked(transformer, additions)


def delta_on(device: torch.device, factors: Factors) -> Tensor:
    """Return ΔW (d_out, d_in) in float32, computed on a device."""
    return delta(Factors(down=factors.down.to(device), up=factors.up.to(device), scale=factors.scale))
