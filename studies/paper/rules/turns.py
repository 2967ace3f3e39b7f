"""Adapters that act by turns: in some steps and slots only, or each in a pass of the transformer of its own.

Each call of the transformer is treated in the same way: with a negative prompt and true CFG the pipeline makes two per
step, and combines their results itself.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autolora.errors import MismatchError
from autolora.fusion.install import Attachment, find_linears, hooked
from autolora.fusion.rules import Adapter
from autolora.fusion.slot_fusion import SlotFusion

Acting = Callable[[str], Collection[int]]
"""slot -> the indices of the adapters that act in it"""

ChoosePasses = Callable[[Tensor | None], Sequence[Acting]]
"""returns who acts in each pass of a call; gets the call's timestep, (B,), 0 to 1"""
Combine = Callable[[Sequence[Tensor]], Tensor]
"""the outputs of two or more passes, (B, T, C) each -> the output of the call"""


def attach_by_turns(
    pipeline: Any, adapters: Sequence[Adapter], choose_passes: ChoosePasses, combine: Combine | None = None
) -> Attachment:
    """Let adapters act in a pipeline by turns; return what removes them.

    combine: None if there is one pass per call. Raises MismatchError as `fused`.
    """
    transformer = pipeline.transformer
    turns = Turns(choose_passes, combine)
    linears = find_linears(transformer, [adapter.lora for adapter in adapters])
    additions = [([linear], ActingUpdates(name, adapters, turns)) for name, linear in linears.items()]
    with hooked(transformer, additions) as attachment:
        for handle in (
            transformer.register_forward_pre_hook(turns.begin, with_kwargs=True),
            transformer.register_forward_hook(turns.end, with_kwargs=True),
        ):
            attachment.callback(handle.remove)
        return attachment.pop_all()


def only(*adapters: int) -> Acting:
    """Return that these adapters act in every slot."""
    return lambda slot: adapters


class Turns:
    """Runs the transformer once per pass of a call, and knows who acts in the current pass."""

    def __init__(self, choose_passes: ChoosePasses, combine: Combine | None) -> None:
        self._choose_passes, self._combine = choose_passes, combine
        self._passes: Sequence[Acting] = ()
        self.acting = only()

    def begin(self, transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Choose the passes of a call, of which the transformer itself runs the first: a forward pre-hook."""
        self._passes = self._choose_passes(kwargs.get("timestep"))
        self.acting = self._passes[0]
        if len(self._passes) > 1 and getattr(transformer, "is_cache_enabled", False):
            raise MismatchError(
                "the method runs the transformer several times per step, but diffusers keeps features of one run for "
                "the next: call `disable_cache()` of the transformer, or use another method"
            )

    def end(
        self, transformer: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> Any:
        """Run the other passes and return the combined output: a forward hook."""
        if len(self._passes) == 1 or self._combine is None:
            return output
        outputs = [output[0]]
        for acting in self._passes[1:]:
            self.acting = acting
            outputs.append(transformer.forward(*args, **kwargs)[0])
        combined = self._combine(outputs)
        return (combined,) if isinstance(output, tuple) else type(output)(combined)


class ActingUpdates:
    """Adds to the output of one slot the updates of the adapters that act in the current pass."""

    def __init__(self, slot: str, adapters: Sequence[Adapter], turns: Turns) -> None:
        self._slot, self._turns = slot, turns
        self._updates = {
            index: SlotFusion([(adapter.lora[slot], torch.ones(()))], gate=None)
            for index, adapter in enumerate(adapters)
            if slot in adapter.lora
        }

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output with the updates, given the base output (..., d_out) for the input x (..., d_in)."""
        for index in self._turns.acting(self._slot):
            if index in self._updates:
                output = self._updates[index](output, x)
        return output

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place the updates on a device in a precision."""
        for update in self._updates.values():
            update.move(device, dtype)
