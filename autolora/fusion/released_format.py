"""Gates as their authors publish them: one .safetensors file, gates on fused slots, no config beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion.gate import TERMS, Gates, GateSpec
from autolora.fusion.store import assemble
from autolora.presets import Form
from autolora.slots import FusedSlot
from autolora.storage.files import write_atomic


def load_published(path: Path, slots: Sequence[FusedSlot], global_rank: int) -> Gates:
    """Read published gates, frozen, in float32.

    slots: the base's fused ones. global_rank: of the global LoRA they are used with, which no file names.
    Raises MissingArtifact when the file is not there or damaged, MismatchError when it holds other gates.
    """
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MissingArtifact(f"no gates in {path}: {error}; download the file anew") from error
    spec = GateSpec(
        form=find_form(tensors),
        relevance=False,
        spread=0.0,
        bias=0.0,
        scale=1.0,
        relevance_weight=0.0,
        global_rank=global_rank,
    )
    gates = assemble(tensors, spec)
    found = {slot.name: len(gates.of(slot.name).bias) for slot in slots if slot.name in gates}
    if found != {slot.name: slot.d_out for slot in slots} or len(gates.model_dict) != len(slots):
        raise MismatchError(
            f"{path} has {len(gates.model_dict)} gates, {len(found)} of them on the base's {len(slots)} fused "
            "slots, or of other widths: they were made for another base"
        )
    return gates


def save_published(gates: Gates, path: Path) -> None:
    """Write gates as they are published, in their own precision.

    Raises MismatchError where that layout has no place for them: canonical slots, or a relevance term.
    """
    if not gates.fused or gates.spec.relevance:
        raise MismatchError(
            "the published layout holds gates on fused slots without a relevance term: train them with "
            "fusion.slots 'fused' and fusion.relevance false"
        )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in gates.state_dict().items()}
    write_atomic(path, save_tensors(tensors))


def find_form(tensors: Mapping[str, Tensor]) -> Form:
    """Return the form whose terms these tensors have; MismatchError when it is none."""
    names = {name.rpartition(".")[2] for name in tensors}
    present = {term for term in ("base", "lora", "cross") if f"weight_{term}" in names}
    for form, terms in TERMS.items():
        if present == set(terms):
            return form
    raise MismatchError(f"no form of the gate has the terms {sorted(present)} and no others")
