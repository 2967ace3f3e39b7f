"""Installing adapters on a transformer: its slot linears add the adapters' updates, gated or summed.

Gates of fused slots work on the transformer as it is: the parts of a slot are gated together.
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


@contextmanager
def fused(
    transformer: Any,
    loras: Sequence[Lora],
    *,
    gates: Gates | None = None,
    relevance: Sequence[float] | Tensor | None = None,
    weights: Sequence[float] | None = None,
) -> Iterator[None]:
    """Add the adapters to the transformer's slot linears inside the `with`; leave no trace afterwards.

    gates: None sums the updates (direct addition); else they pass through the gate of their slot (Eq. 6-8),
    canonical or fused, a single adapter too, and two or more are joined by their global LoRA (Eq. 9) with relevance 0.
    relevance: (k,) or, one for each sample of the batch, (k, B), 0 to 1; None means that all are wanted.
    weights: one factor an adapter, 1 where None.
    Raises MismatchError when an adapter or the gates were made for another base.
    """
    linears = {name: _linear(transformer, name) for lora in loras for name in lora}
    strengths = [1.0] * len(loras) if weights is None else weights
    parts = [_placed(lora, linears, strength) for lora, strength in zip(loras, strengths, strict=True)]
    scores = list(torch.ones(len(loras)) if relevance is None else torch.as_tensor(relevance).float())
    wide = gates is not None and gates.fused
    view = fused_slots(transformer.config) if wide else ()
    parts = [fuse_all(lora, view) for lora in parts] if wide else parts
    if gates is not None and gates.spec.global_rank and len(parts) > 1:
        parts.append(global_lora(parts, gates.spec.global_rank))
        scores.append(torch.zeros(()))
    groups = {slot.name: [_linear(transformer, part.name) for part in slot.parts] for slot in view}
    groups = groups or {name: [linear] for name, linear in linears.items()}
    with ExitStack() as stack:
        for name, group in groups.items():
            present = [
                (_cast(lora[name], group[0]), score.to(group[0].weight.device))
                for lora, score in zip(parts, scores, strict=True)
                if name in lora
            ]
            if present:
                gate = None if gates is None else _gate(gates, name, group)
                for linear, hook in zip(group, _hooks(group, present, gate), strict=True):
                    stack.callback(linear.register_forward_hook(hook).remove)
        yield


def _hooks(
    group: Sequence[nn.Linear], present: Sequence[tuple[Factors, Tensor]], gate: Gate | None
) -> list[Hook]:
    """Return a forward hook for each linear of a slot: one, or the parts of a fused slot."""
    if gate is None or len(group) == 1:
        return [_hook(present, gate)]
    joint = Joint(group, present, gate)
    return [joint.hook(place) for place in range(len(group))]


class Joint:
    """The parts of a fused slot: they read one input, and one gate sees their outputs side by side.

    The part that runs first computes them all; the others take their share of what it kept.
    """

    def __init__(
        self, linears: Sequence[nn.Linear], present: Sequence[tuple[Factors, Tensor]], gate: Gate
    ) -> None:
        self.linears, self.present, self.gate = linears, present, gate
        self.input: Tensor | None = None
        self.shares: dict[int, Tensor] = {}

    def hook(self, place: int) -> Hook:
        """Return the forward hook of one part."""

        def share(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if self.input is not inputs[0] or place not in self.shares:
                self.input = inputs[0]
                self.shares = dict(enumerate(self._run(inputs[0], place, output)))
            found = self.shares.pop(place)
            if not self.shares:
                self.input = None
            return found

        return share

    def _run(self, x: Tensor, place: int, output: Tensor) -> tuple[Tensor, ...]:
        outputs = [
            output if i == place else linear.forward(x)  # not `linear(x)`, which would run its hook
            for i, linear in enumerate(self.linears)
        ]
        updates = ((update(factors, x), score) for factors, score in self.present)
        gated: Tensor = self.gate(torch.cat(outputs, dim=-1), updates)
        return torch.split(gated, [linear.out_features for linear in self.linears], dim=-1)


def _hook(present: Sequence[tuple[Factors, Tensor]], gate: Gate | None) -> Hook:
    """Return a forward hook that adds the updates of the adapters that have this linear."""

    def add(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        updates = ((update(factors, inputs[0]), score) for factors, score in present)
        if gate is not None:
            fused_output: Tensor = gate(output, updates)
            return fused_output
        for one, _ in updates:
            output = output + one
        return output

    return add


def update(factors: Factors, x: Tensor) -> Tensor:
    """Return L = s · x Aᵀ Bᵀ, (..., d_out), of inputs (..., d_in)."""
    return F.linear(F.linear(x, factors.down), factors.up) * factors.scale


def _placed(lora: Lora, linears: dict[str, nn.Linear], strength: float) -> Lora:
    """Return the adapter on the devices of its linears, at this strength.

    Raises MismatchError where a shape does not fit.
    """
    placed: Lora = {}
    for name, factors in lora.items():
        linear = linears[name]
        shape = (factors.up.shape[0], factors.down.shape[1])
        if shape != tuple(linear.weight.shape):
            raise MismatchError(
                f"an adapter's update of '{name}' has shape {shape} but the base's weight has "
                f"{tuple(linear.weight.shape)}: the adapter was made for another base; leave it out"
            )
        device = linear.weight.device
        placed[name] = Factors(
            down=factors.down.to(device), up=factors.up.to(device), scale=factors.scale * strength
        )
    return placed


def _cast(factors: Factors, linear: nn.Linear) -> Factors:
    """Return the factors in the precision of the linear."""
    kind = linear.weight.dtype
    return Factors(down=factors.down.to(kind), up=factors.up.to(kind), scale=factors.scale)


def _linear(transformer: nn.Module, name: str) -> nn.Linear:
    try:
        linear = transformer.get_submodule(name)
    except AttributeError:
        linear = None
    if not isinstance(linear, nn.Linear):
        raise MismatchError(
            f"an adapter changes '{name}', which the base does not have: it was made for another base; "
            "leave it out"
        )
    return linear


def _gate(gates: Gates, name: str, group: Sequence[nn.Linear]) -> Gate:
    gate = gates.of(name) if name in gates else None
    if gate is None or len(gate.bias) != sum(linear.out_features for linear in group):
        raise MismatchError(
            f"the gates do not fit '{name}' of this base: they were trained for another one; "
            "run `dvc repro fusion`"
        )
    return gate
