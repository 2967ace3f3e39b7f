"""Gates in the file layout of their authors: one file of tensors on fused slots, without a config."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store
from autolora.fusion.gate import TERMS, Gates
from autolora.lora.slots import fused_slots
from autolora.presets.fusion import FUSION, FusionVariant, GateForm

GLOBAL_RANK: Mapping[GateForm, int] = {"full": 4, "no_base": 2, "no_cross": 2, "no_lora": 2}
"""form of published gates -> rank of the global LoRA in the release that has it; the file does not store it"""


def load_published(path: Path, transformer: Mapping[str, Any], variant: FusionVariant | None = None) -> Gates:
    """Return published gates, frozen, in float32; the file decides the form of the gate.

    transformer: config of the base model's FluxTransformer2DModel. variant: decides what the file does not store,
    the rank of the global LoRA; None takes the preset `released` with the rank of the release that has this form.
    Raises MissingArtifact if the file is missing or damaged, MismatchError if it holds something else or gates for
    another base model.
    """
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MissingArtifact(
            f"cannot read gates from {path} ({error}): give a file of published gates, or download it again"
        ) from error
    try:
        form = find_form(tensors)
        variant = variant or replace(FUSION["released"], global_rank=GLOBAL_RANK[form])
        variant = replace(variant, gate=form, slots="fused", relevance=False)
        gates = store.assemble(tensors, variant, store.find_widths(tensors))
    except MismatchError as error:
        store.check_exported(path.parent)
        raise MismatchError(
            f"{path}: {error}: give a file of gates that their authors have published, or download it again"
        ) from error
    expected = {slot.name: slot.d_out for slot in fused_slots(transformer)}
    fitting = [name for name, width in expected.items() if name in gates and gates.of(name).width == width]
    if len(fitting) != len(expected) or len(gates.model_dict) != len(expected):
        store.check_exported(path.parent)
        raise MismatchError(
            f"{path} has {len(gates.model_dict)} gates, of which {len(fitting)} fit the {len(expected)} fused slots "
            "of the base model: set models.pipeline in params.yaml to the base model that they were trained for"
        )
    return gates


def find_form(tensors: Mapping[str, Tensor]) -> GateForm:
    """Return the form of gate that has exactly the weights among these tensors; MismatchError if there is none."""
    names = {name.rpartition(".")[2] for name in tensors}
    present = {term for term in ("base", "lora", "cross") if f"weight_{term}" in names}
    published = {form: terms for form, terms in TERMS.items() if terms}
    for form, terms in published.items():
        if present == set(terms):
            return form
    expected = ", or ".join(" and ".join(sorted(terms)) for terms in published.values())
    found = " and ".join(sorted(present)) or "none"
    raise MismatchError(
        f"not published gates: the file has {found} of the terms of a gate, expected {expected}"
    )
