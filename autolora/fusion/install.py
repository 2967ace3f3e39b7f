"""Install adapters on a transformer: its slot linears add the adapters' updates, gated or summed.

Gates on fused slots work on the unfused transformer: the linears of a fused slot are gated together.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autolora.errors import MismatchError
from autolora.fusion.gate import Gate, Gates
from autolora.fusion.global_lora import global_lora
from autolora.lora.factors import Factors, Lora, fuse_all
from autolora.slots import fused_slots

Hook = Callable[..., Tensor]
Scored = tuple[Factors, Tensor]
"""an adapter's update of one slot, and the adapter's relevance, () or (B,)"""


@contextmanager
def fused(
    transformer: Any,
    loras: Sequence[Lora],
    *,
    gates: Gates | None = None,
    relevance: Sequence[float] | Tensor | None = None,
    weights: Sequence[float] | None = None,
) -> Iterator[None]:
    """Add the adapters to the transformer's slot linears inside the `with` block, and remove them after it.

    gates: None sums the updates. Otherwise each update passes the gate of its slot (Eq. 6-8), also that of a single
    adapter, and two or more adapters get their global LoRA (Eq. 9) as one more adapter with relevance 0.
    relevance: (k,) or, per sample of the batch, (k, B), 0 to 1; None means 1 for all.
    weights: factor of each adapter's update; None means 1 for all.
    Raises MismatchError if an adapter or the gates were made for another base model.
    """
    linears = {name: _linear(transformer, name) for lora in loras for name in lora}
    strengths = [1.0] * len(loras) if weights is None else weights
    adapters = [_on_device(lora, linears, strength) for lora, strength in zip(loras, strengths, strict=True)]
    scores = list(torch.ones(len(loras)) if relevance is None else torch.as_tensor(relevance).float())
    view = fused_slots(transformer.config) if gates is not None and gates.fused else ()
    if view:
        adapters = [fuse_all(lora, view) for lora in adapters]
    if gates is not None and gates.variant.global_rank and len(adapters) > 1:
        adapters.append(global_lora(adapters, gates.variant.global_rank))
        scores.append(torch.zeros(()))
    groups = {slot.name: [_linear(transformer, part.name) for part in slot.parts] for slot in view}
    groups = groups or {name: [linear] for name, linear in linears.items()}
    with ExitStack() as stack:
        for name, group in groups.items():
            scored = [
                (_cast(lora[name], group[0]), score.to(group[0].weight.device))
                for lora, score in zip(adapters, scores, strict=True)
                if name in lora
            ]
            if scored:
                gate = None if gates is None else _gate(gates, name, group)
                for linear, hook in zip(group, _hooks(group, scored, gate), strict=True):
                    stack.callback(linear.register_forward_hook(hook).remove)
        yield


class FusedSlotGate:
    """Gates the linears of a fused slot, which have the same input, on their concatenated outputs.

    The linear that runs first computes the gated outputs of all; the others take theirs from the result.
    """

    def __init__(self, linears: Sequence[nn.Linear], scored: Sequence[Scored], gate: Gate) -> None:
        self.linears, self.scored, self.gate = linears, scored, gate
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
        updates = ((update(factors, x), score) for factors, score in self.scored)
        gated: Tensor = self.gate(torch.cat(outputs, dim=-1), updates)
        return torch.split(gated, [linear.out_features for linear in self.linears], dim=-1)


def update(factors: Factors, x: Tensor) -> Tensor:
    """Return L = s · x Aᵀ Bᵀ, (..., d_out), for inputs x (..., d_in)."""
    return F.linear(F.linear(x, factors.down), factors.up) * factors.scale


def _hooks(group: Sequence[nn.Linear], scored: Sequence[Scored], gate: Gate | None) -> list[Hook]:
    """Return one forward hook per linear of a slot; a fused slot may have several."""
    if gate is None or len(group) == 1:
        return [_hook(scored, gate)]
    joint = FusedSlotGate(group, scored, gate)
    return [joint.hook(index) for index in range(len(group))]


def _hook(scored: Sequence[Scored], gate: Gate | None) -> Hook:
    """Return a forward hook that adds updates to the output of one linear."""

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        updates = ((update(factors, inputs[0]), score) for factors, score in scored)
        if gate is not None:
            gated: Tensor = gate(output, updates)
            return gated
        for value, _ in updates:
            output = output + value
        return output

    return add


def _on_device(lora: Lora, linears: dict[str, nn.Linear], strength: float) -> Lora:
    """Return the adapter on the devices of its linears, with its scales multiplied by `strength`.

    Raises MismatchError if a shape does not fit.
    """
    moved: Lora = {}
    for name, factors in lora.items():
        linear = linears[name]
        shape = (factors.up.shape[0], factors.down.shape[1])
        if shape != tuple(linear.weight.shape):
            raise MismatchError(
                f"an adapter's update of '{name}' has shape {shape} but the base model's weight has "
                f"{tuple(linear.weight.shape)}: the adapter was made for another base model; remove it"
            )
        device = linear.weight.device
        moved[name] = Factors(
            down=factors.down.to(device), up=factors.up.to(device), scale=factors.scale * strength
        )
    return moved


def _cast(factors: Factors, linear: nn.Linear) -> Factors:
    """Return the factors in the precision of the linear."""
    dtype = linear.weight.dtype
    return Factors(down=factors.down.to(dtype), up=factors.up.to(dtype), scale=factors.scale)


def _linear(transformer: nn.Module, name: str) -> nn.Linear:
    """Return the linear of this name; raises MismatchError if the transformer has none."""
    try:
        linear = transformer.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise MismatchError(
            f"an adapter changes '{name}', which is not a linear of the base model: the adapter was made for "
            "another base model; remove it"
        )
    return linear


def _gate(gates: Gates, name: str, group: Sequence[nn.Linear]) -> Gate:
    """Return the gate of a slot; raises MismatchError if there is none for a slot of this width."""
    gate = gates.of(name) if name in gates else None
    width = sum(linear.out_features for linear in group)
    if gate is None or len(gate.bias) != width:
        raise MismatchError(
            f"the gates have no gate of width {width} for slot '{name}' of the base model: they were trained for "
            "another base model; run `dvc repro fusion`"
        )
    return gate
