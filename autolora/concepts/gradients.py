"""Gradient sketches: S·(-∂L/∂W)·Q per slot and sample, from one forward and one backward pass of a batch.

With x (T, d_in) the input of a linear and g (T, d_out) the gradient of the loss at its output, ∂L/∂W = gᵀx. So its
sketch is (g·Sᵀ)ᵀ(x·Q), two thin products, and no gradient of a weight is formed. S and Q are those of sketches of
adapters (autolora/lora/sketch.py), so both can be compared. The sign is that of descent: the direction in which a
training step, such as that of a LoRA, changes the weight.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from autolora.errors import MismatchError
from autolora.lora.sketch import SketchSpec, signs
from autolora.lora.slots import Slot

LOSS_SCALE = 2.0**12
"""factor of the loss, taken out of the sketches again: it keeps gradients of a base in float16 above its smallest
number, and is exact, as it is a power of two"""


class GradientSketcher:
    """Sketches of the gradients of a frozen transformer's slots, on its device.

    Accepts a base in float32, bfloat16 or float16, also with gradient checkpointing. The signs take 4 bytes each:
    0.6 GB for FLUX.1-dev at size 32.
    """

    def __init__(self, transformer: nn.Module, slots: Sequence[Slot], spec: SketchSpec) -> None:
        """Prepare the signs of all slots. slots: the canonical slots of the transformer.

        Raises MismatchError if the transformer has no linear of a slot's shape and name.
        """
        self.transformer, self.spec = transformer.requires_grad_(False), spec
        self._linears = [_linear(transformer, slot) for slot in slots]
        devices = [linear.weight.device for linear in self._linears]
        self._left = [
            signs(f"S|{slot.name}", slot.d_out, spec.size).to(device)
            for slot, device in zip(slots, devices, strict=True)
        ]
        shared = {
            slot.fused: signs(f"Q|{slot.fused}", slot.d_in, spec.size).to(device)
            for slot, device in zip(slots, devices, strict=True)
        }
        self._right = [shared[slot.fused] for slot in slots]

    def sketch(self, losses: Callable[[], Tensor]) -> Tensor:
        """Return the sketches (B, S, m, p), float32, of the negative gradients of B losses; zero if none arrives.

        losses: runs the transformer once and returns the losses (B,), one per sample of its batch.
        Raises MismatchError if a gradient is not finite.
        """
        sketches: dict[int, Tensor] = {}
        with torch.enable_grad(), ExitStack() as hooks:
            for index, linear in enumerate(self._linears):
                hooks.callback(linear.register_forward_hook(self._hook(index, sketches)).remove)
            values = losses()
            (values.float().sum() * LOSS_SCALE).backward()  # type: ignore[no-untyped-call]  # torch's own
        size = self.spec.size
        absent = torch.zeros(len(values), size, size, device=values.device)
        stacked = torch.stack([sketches.get(index, absent) for index in range(len(self._linears))], dim=1)
        if not bool(stacked.isfinite().all()):
            raise MismatchError(
                "a gradient of the base model is not finite: load it with models.dtype bfloat16 or float32"
            )
        return stacked.div_(-LOSS_SCALE * size)

    def _hook(self, index: int, sketches: dict[int, Tensor]) -> Callable[..., None]:
        """Return the forward hook of a linear: it adds the linear's sketches (B, m, p), unscaled, to `sketches`."""
        left, right = self._left[index], self._right[index]

        def project(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            projected = _tokens(inputs[0].detach()) @ right

            def record(gradient: Tensor) -> None:
                update = (_tokens(gradient) @ left).transpose(1, 2) @ projected
                sketches[index] = sketches[index] + update if index in sketches else update

            if (
                not output.requires_grad
            ):  # the inputs of the first linears are constants, and so are the weights
                output.requires_grad_()
            output.register_hook(record)  # type: ignore[no-untyped-call]  # torch's own

        return project


def _tokens(values: Tensor) -> Tensor:
    """Return (B, T, d) in float32; modulations have no tokens, (B, d), and get T = 1."""
    return (values if values.dim() == 3 else values[:, None]).float()


def _linear(transformer: nn.Module, slot: Slot) -> nn.Linear:
    try:
        module = transformer.get_submodule(slot.name)
    except AttributeError as error:
        raise MismatchError(f"the base model does not have the linear '{slot.name}'") from error
    if not isinstance(module, nn.Linear) or tuple(module.weight.shape) != (slot.d_out, slot.d_in):
        raise MismatchError(
            f"'{slot.name}' of the base model is not a linear with a weight of {slot.d_out} × {slot.d_in}: gradients "
            "need the base model as it is, neither quantized nor wrapped"
        )
    return module
