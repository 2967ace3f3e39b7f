"""Install adapters on a transformer: its slot linears add the adapters' updates, gated or summed.

A forward hook on each linear adds to its output, so no weight and no module is changed, and removing the hooks
restores the transformer exactly. Gates on fused slots work on the unfused transformer: the linears of a fused slot
are gated together.

PEFT wraps a linear in a module of its own, whose `base_layer` it is. AutoLoRA adds to the linear itself: PEFT's own
adapters then stay active, and may be loaded, merged or unloaded before and after. Quantized linears (torchao,
bitsandbytes) are linears whose weight has another type or shape, so widths are those that the linear states.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from autolora.errors import MismatchError
from autolora.fusion.gate import Gate, Gates
from autolora.fusion.global_lora import GlobalLoras, global_update, kept, key_of
from autolora.fusion.slot_fusion import SlotFusion, place
from autolora.lora.factors import Factors, Lora, fuse_all
from autolora.lora.slots import fused_slots

Hook = Callable[..., Tensor]
PreHook = Callable[..., tuple[Any, ...] | None]
Attachment = ExitStack[None]
"""removes adapters when it is closed, or at the end of its `with` block; does not keep the transformer alive"""
PROJECTIONS = ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj")
"""linears that diffusers replaces if their attention's projections are fused"""


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
    sha256: Sequence[str] | None = None,
) -> Attachment:
    """Add the adapters to the transformer's slot linears; return what removes them.

    transformer: a FluxTransformer2DModel, also if it holds adapters of PEFT, or is quantized, offloaded or compiled.
    gates: None sums the updates. Otherwise each update passes the gate of its slot (Eq. 6-8), also that of a single
    adapter, and two or more adapters get their global LoRA (Eq. 9) as one more adapter with relevance 0.
    relevance: (k,) or, per sample of the batch, (k, B), 0 to 1; None means 1 for all.
    sha256: of each adapter, so that the global LoRA of this set is kept and the set can return without computing it.
    Raises MismatchError if an adapter or the gates were made for another base model, or the transformer has modules
    to which nothing can be added.
    """
    return hooked(transformer, _slot_fusions(transformer, loras, gates, relevance, sha256))


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
            for handle in _register(linears, addition):
                attachment.callback(handle.remove)
        return attachment.pop_all()


def find_linears(transformer: Any, loras: Sequence[Lora]) -> dict[str, nn.Linear]:
    """Return slot -> linear for each slot that an adapter changes; errors as `fused`."""
    linears = {name: find_linear(transformer, name) for lora in loras for name in lora}
    for lora in loras:
        _check_shapes(lora, linears)
    return linears


def find_linear(transformer: nn.Module, name: str) -> nn.Linear:
    """Return the linear of a slot.

    Raises MismatchError if the transformer has none of this name, or if what is there ignores or scales what is added.
    """
    try:
        module: Any = transformer.get_submodule(name)
    except AttributeError as error:
        raise MismatchError(
            f"an adapter changes '{name}', which the base model does not have: the adapter was made for another base "
            "model; remove it"
        ) from error
    parent, _, projection = name.rpartition(".")
    if projection in PROJECTIONS and getattr(transformer.get_submodule(parent), "fused_projections", False):
        raise MismatchError(
            f"diffusers has fused the projections of '{parent}' and does not use '{projection}': call "
            "`unfuse_qkv_projections()` of the transformer first"
        )
    while hasattr(module, "base_layer"):
        if getattr(module, "lora_variant", None) and not module.merged:
            raise MismatchError(
                f"'{name}' has an adapter of PEFT that scales the whole output of the linear (such as DoRA), so also "
                "what AutoLoRA adds: merge it first (`fuse_lora()` of the pipeline), or unload it"
            )
        module = module.base_layer
    if not isinstance(module, nn.Linear):
        raise MismatchError(
            f"'{name}' of the base model is a {type(module).__name__}, but adapters are added to linears only "
            "(torch.nn.Linear, also wrapped by PEFT or quantized by torchao or bitsandbytes): load the base model "
            "with another quantization"
        )
    return module


def execution_device(transformer: nn.Module, linear: nn.Linear) -> torch.device:
    """Return the device on which a linear is expected to run; accelerate keeps offloaded weights elsewhere until then.

    A weight on no device (meta) has the CPU.
    """
    for module in (linear, transformer):
        device: Any = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return torch.device("cpu") if linear.weight.is_meta else linear.weight.device


def is_compiled(transformer: nn.Module) -> bool:
    """Return whether a part of the transformer is compiled by torch.compile, in any of its forms."""
    return any(
        module._compiled_call_impl is not None
        or hasattr(module, "_orig_mod")
        or hasattr(module.forward, "_torchdynamo_orig_callable")
        for module in transformer.modules()
    )


def _slot_fusions(
    transformer: Any,
    loras: Sequence[Lora],
    gates: Gates | None,
    relevance: Sequence[float] | Tensor | None,
    sha256: Sequence[str] | None,
) -> list[tuple[list[nn.Linear], Addition]]:
    """Return the linears of each slot that an adapter changes, and what they add; arguments and errors as `fused`.

    A slot has one linear, or several if the gates are on fused slots.
    """
    linears = find_linears(transformer, loras)
    scores = list(torch.ones(len(loras)) if relevance is None else torch.as_tensor(relevance).float())
    slots, views = {name: [linear] for name, linear in linears.items()}, list(loras)
    if gates is not None and gates.fused:
        view = fused_slots(transformer.config)
        views = [fuse_all(lora, view) for lora in loras]
        slots = {slot.name: [find_linear(transformer, part.name) for part in slot.parts] for slot in view}
    joint_of = global_loras(loras, gates, sha256, kept)
    fusions: list[tuple[list[nn.Linear], Addition]] = []
    for name, group in slots.items():
        acting = [index for index, lora in enumerate(views) if name in lora]
        if acting:
            updates = [(views[index][name], scores[index]) for index in acting]
            joint = joint_of(
                name, [factors for factors, _ in updates], execution_device(transformer, group[0])
            )
            updates += [] if joint is None else [(joint, torch.zeros(()))]
            fusion = SlotFusion(updates, None if gates is None else _gate(gates, name, group))
            fusions.append((group, fusion))
    return fusions


def global_loras(
    loras: Sequence[Lora], gates: Gates | None, sha256: Sequence[str] | None, kept: GlobalLoras
) -> Callable[[str, Sequence[Factors], torch.device], Factors | None]:
    """Return what returns the global LoRA of a slot, given the adapters' updates of it and a device to compute on.

    It returns None for a sum, and for one adapter. kept: where those of a set with known sha256 are found and added.
    """
    rank = gates.variant.global_rank if gates is not None and len(loras) > 1 else 0
    if gates is None or not rank:
        return lambda slot, updates, device: None
    known = kept.slots_of(None if sha256 is None else key_of(loras, sha256, rank, fused=gates.fused))

    def joint_of(slot: str, updates: Sequence[Factors], device: torch.device) -> Factors | None:
        if slot not in known:
            joint = global_update([place(factors, device, torch.float32) for factors in updates], rank)
            known[slot] = None if joint is None else place(joint, torch.device("cpu"), torch.float32)
        return known[slot]

    return joint_of


class FusedSlotGate:
    """Gates the linears of a fused slot, which have the same input, on their concatenated outputs.

    The linear that runs first computes the gated outputs of all; the others take theirs from the result, and compute
    one token only, since a hook cannot prevent that they run.
    """

    def __init__(self, linears: Sequence[nn.Linear], addition: Addition) -> None:
        self.linears, self.addition = linears, addition
        self.input: Tensor | None = None
        self.outputs: dict[int, Tensor] = {}
        self.skipped: int | None = None

    def skip(self, index: int) -> PreHook:
        """Return the forward pre-hook of the linear with this index."""

        def one_token(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            x: Tensor = inputs[0]
            if self.input is not x or index not in self.outputs:
                return None
            self.skipped = index
            return (x[..., :1, :], *inputs[1:])

        return one_token

    def hook(self, index: int) -> Hook:
        """Return the forward hook of the linear with this index."""

        def gated_output(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            if self.skipped != index:
                self.input = inputs[0]
                self.outputs = dict(enumerate(self._run(inputs[0], index, output)))
            self.skipped = None
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


def _register(group: Sequence[nn.Linear], addition: Addition) -> Iterator[RemovableHandle]:
    """Yield the handles of the hooks of a slot; a fused slot may have several linears."""
    if len(group) == 1:
        yield group[0].register_forward_hook(lambda module, inputs, output: addition(output, inputs[0]))
        return
    joint = FusedSlotGate(group, addition)
    for index, linear in enumerate(group):
        yield linear.register_forward_pre_hook(joint.skip(index))
        yield linear.register_forward_hook(joint.hook(index))


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
