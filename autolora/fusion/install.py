"""Install adapters on a transformer: its slot linears add the adapters' updates, gated, summed or merged.

A forward hook on each linear adds to its output, so no weight and no module is changed, and removing the hooks
restores the transformer exactly. Gates on fused slots work on the unfused transformer: the linears of a fused slot
are gated together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from autolora.errors import MismatchError
from autolora.fusion.gate import Gate, Gates
from autolora.fusion.linears import execution_device, find_linear, is_compiled
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.slot_fusion import SlotFusion
from autolora.lora.factors import Lora, fuse_all
from autolora.slots import fused_slots

Hook = Callable[..., Tensor]
Attachment = ExitStack[None]
"""removes adapters when it is closed, or at the end of its `with` block; does not keep the transformer alive"""


class Addition(Protocol):
    """What adapters add to the output of one slot."""

    def __call__(self, output: Tensor, x: Tensor) -> Tensor:
        """Return the output with the addition, given the base output (..., d_out) for the input x (..., d_in)."""

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Place what is added on a device in a precision."""


def fused(
    transformer: Any,
    loras: Sequence[Lora],
    *,
    gates: Gates | None = None,
    relevance: Sequence[float] | Tensor | None = None,
    weights: Sequence[float] | None = None,
    recorder: GateRecorder | None = None,
) -> Attachment:
    """Add the adapters to the transformer's slot linears; return what removes them.

    transformer: a FluxTransformer2DModel, also if it holds adapters of PEFT, or is quantized, offloaded or compiled.
    gates: None sums the updates. Otherwise each update passes the gate of its slot (Eq. 6-8), also that of a single
    adapter, and two or more adapters get their global LoRA (Eq. 9) as one more adapter with relevance 0.
    relevance: (k,) or, per sample of the batch, (k, B), 0 to 1; None means 1 for all.
    weights: factor of each adapter's update; None means 1 for all. recorder: gets the means of the gates.
    Raises MismatchError if an adapter or the gates were made for another base model, or the transformer has modules
    to which nothing can be added.
    """
    return hooked(transformer, _slot_fusions(transformer, loras, gates, relevance, weights, recorder))


def hooked(transformer: Any, additions: Sequence[tuple[Sequence[nn.Linear], Addition]]) -> Attachment:
    """Add to the outputs of linears of a transformer; return what removes the additions.

    additions: the linears of each slot, which have the same input, and what is added to their concatenated outputs.
    """
    dtype = transformer.dtype  # diffusers looks at all parameters
    with Attachment() as attachment:
        if is_compiled(transformer):  # compiled code does not notice hooks: compile again, now and afterwards
            torch.compiler.reset()
            attachment.callback(torch.compiler.reset)
        for linears, addition in additions:
            addition.move(execution_device(transformer, linears[0]), dtype)
            for linear, hook in zip(linears, _hooks(linears, addition), strict=True):
                attachment.callback(linear.register_forward_hook(hook).remove)
        return attachment.pop_all()


def find_linears(transformer: Any, loras: Sequence[Lora]) -> dict[str, nn.Linear]:
    """Return slot -> linear for each slot that an adapter changes; errors as `fused`."""
    linears = {name: find_linear(transformer, name) for lora in loras for name in lora}
    for lora in loras:
        _check_shapes(lora, linears)
    return linears


def strengthened(lora: Lora, strength: float) -> Lora:
    """Return the adapter with its scales multiplied by `strength`."""
    return {name: replace(factors, scale=factors.scale * strength) for name, factors in lora.items()}


def _slot_fusions(
    transformer: Any,
    loras: Sequence[Lora],
    gates: Gates | None,
    relevance: Sequence[float] | Tensor | None,
    weights: Sequence[float] | None,
    recorder: GateRecorder | None,
) -> list[tuple[list[nn.Linear], Addition]]:
    """Return the linears of each slot that an adapter changes, and what they add; arguments and errors as `fused`.

    A slot has one linear, or several if the gates are on fused slots.
    """
    linears = find_linears(transformer, loras)
    strengths = [1.0] * len(loras) if weights is None else weights
    adapters = [strengthened(lora, strength) for lora, strength in zip(loras, strengths, strict=True)]
    scores = list(torch.ones(len(loras)) if relevance is None else torch.as_tensor(relevance).float())
    slots = {name: [linear] for name, linear in linears.items()}
    if gates is not None and gates.fused:
        view = fused_slots(transformer.config)
        adapters = [fuse_all(lora, view) for lora in adapters]
        slots = {slot.name: [find_linear(transformer, part.name) for part in slot.parts] for slot in view}
    global_rank = gates.variant.global_rank if gates is not None and len(adapters) > 1 else 0
    fusions: list[tuple[list[nn.Linear], Addition]] = []
    for name, group in slots.items():
        acting = [index for index, lora in enumerate(adapters) if name in lora]
        if acting:
            gate = None if gates is None else _gate(gates, name, group)
            updates = [(adapters[index][name], scores[index]) for index in acting]
            fusion = SlotFusion(updates, gate, global_rank)
            fusions.append((group, recorder.watch(fusion, name, acting) if recorder else fusion))
    return fusions


class FusedSlotGate:
    """Gates the linears of a fused slot, which have the same input, on their concatenated outputs.

    The linear that runs first computes the gated outputs of all; the others take theirs from the result.
    """

    def __init__(self, linears: Sequence[nn.Linear], addition: Addition) -> None:
        self.linears, self.addition = linears, addition
        self.input: Tensor | None = None
        self.outputs: dict[int, Tensor] = {}

    def hook(self, index: int) -> Hook:
        """Return the forward hook of the linear with this index."""

        def gated_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if self.input is not inputs[0] or index not in self.outputs:
                self.input = inputs[0]
                self.outputs = dict(enumerate(self._run(inputs[0], index, output)))
            result = self.outputs.pop(index)
            if not self.outputs:
                self.input = None
            return result

        return gated_output

    def _run(self, x: Tensor, index: int, output: Tensor) -> tuple[Tensor, ...]:
        """Return the gated outputs of all linears for input x; `output` is the plain output of one of them."""
        outputs = [
            output if i == index else linear.forward(x)  # not `linear(x)`, which would call its hook
            for i, linear in enumerate(self.linears)
        ]
        gated = self.addition(torch.cat(outputs, dim=-1), x)
        return torch.split(gated, [linear.out_features for linear in self.linears], dim=-1)


def _hooks(group: Sequence[nn.Linear], addition: Addition) -> list[Hook]:
    """Return one forward hook per linear of a slot; a fused slot may have several."""
    if len(group) == 1:
        return [lambda module, inputs, output: addition(output, inputs[0])]
    joint = FusedSlotGate(group, addition)
    return [joint.hook(index) for index in range(len(group))]


def _check_shapes(lora: Lora, linears: Mapping[str, nn.Linear]) -> None:
    """Raise MismatchError if an update of an adapter does not have the shape of its linear."""
    for name, factors in lora.items():
        shape = (factors.up.shape[0], factors.down.shape[1])
        expected = (linears[name].out_features, linears[name].in_features)
        if shape != expected:
            raise MismatchError(
                f"an adapter's update of '{name}' has shape {shape} but the base model's weight has {expected}: the "
                "adapter was made for another base model; remove it"
            )


def _gate(gates: Gates, name: str, group: Sequence[nn.Linear]) -> Gate:
    """Return the gate of a slot; raises MismatchError if there is none for a slot of this width."""
    gate = gates.of(name) if name in gates else None
    width = sum(linear.out_features for linear in group)
    if gate is None or gate.width != width:
        raise MismatchError(
            f"the gates have no gate of width {width} for slot '{name}' of the base model: they were trained for "
            "another base model; run `dvc repro fusion`"
        )
    return gate
