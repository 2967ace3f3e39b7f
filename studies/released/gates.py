"""Gates in the file layout of their authors: one file of tensors on fused slots, without a config."""

import re
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
from autolora.lora.slots import fused_slots, unescape
from autolora.presets.fusion import GateForm
from studies.released.presets import FUSION

WIDE = re.compile(r"model_dict\.(\w+)\.norm_lora\.weight")
"""name of a tensor that a gate of every form has, and that is as wide as its slot"""
GLOBAL_RANK: Mapping[GateForm, int] = {"full": 4, "no_base": 2, "no_cross": 2, "no_lora": 2}
"""form of released gates -> rank of the global LoRA in the release that has it; the file does not store it"""


def load_released(path: Path, transformer: Mapping[str, Any]) -> Gates:
    """Return released gates, frozen, in float32; the file decides the form of the gate.

    transformer: config of the base model's FluxTransformer2DModel. The rank of the global LoRA, which the
    file does not store, is that of the release that has this form.
    Raises MissingArtifact if the file is missing or damaged, MismatchError if it holds something else or gates for
    another base model.
    """
    try:
        tensors = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise MissingArtifact(
            f"cannot read gates from {path} ({error}): give a file of released gates, or download it again"
        ) from error
    try:
        form = find_form(tensors)
        variant = replace(FUSION, gate=form, global_rank=GLOBAL_RANK[form])
        gates = store.assemble(tensors, variant, find_widths(tensors))
    except MismatchError as error:
        raise MismatchError(
            f"{path}: {error}: give a file of gates that their authors have published, or download it again"
        ) from error
    expected = {slot.name: slot.d_out for slot in fused_slots(transformer)}
    fitting = [name for name, width in expected.items() if name in gates and gates.of(name).width == width]
    if len(fitting) != len(expected) or len(gates.model_dict) != len(expected):
        raise MismatchError(
            f"{path} has {len(gates.model_dict)} gates, of which {len(fitting)} fit the {len(expected)} fused slots "
            "of the base model: set models.pipeline in params.yaml to the base model that they were trained for"
        )
    return gates


def find_widths(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Return slot -> width of its gate, for the slots that the names of tensors contain."""
    return {
        unescape(match[1]): tensor.numel()
        for name, tensor in tensors.items()
        if (match := WIDE.fullmatch(name))
    }


def find_form(tensors: Mapping[str, Tensor]) -> GateForm:
    """Return the form of gate that has exactly the weights among these tensors; MismatchError if there is none."""
    names = {name.rpartition(".")[2] for name in tensors}
    present = {term for term in ("base", "lora", "cross") if f"weight_{term}" in names}
    released = {form: terms for form, terms in TERMS.items() if terms}
    for form, terms in released.items():
        if present == set(terms):
            return form
    expected = ", or ".join(" and ".join(sorted(terms)) for terms in released.values())
    found = " and ".join(sorted(present)) or "none"
    raise MismatchError(
        f"not released gates: the file has {found} of the terms of a gate, expected {expected}"
    )
