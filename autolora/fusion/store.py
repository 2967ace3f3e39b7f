"""Trained gates on disk: tensors with the config that rebuilds them beside."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion.gate import Gates, GateSpec, unescape
from autolora.slots import FusedSlot, Slot
from autolora.storage.files import canonical_json, hash_value, write_atomic

SCHEMA = 1
BIAS = re.compile(r"model_dict\.(\w+)\.bias")
"""the tensor that every gate has, whatever its form"""


def folder(root: Path) -> Path:
    """Return where the gates lie."""
    return root / "data" / "fusion"


def build(slots: Sequence[Slot] | Sequence[FusedSlot], spec: GateSpec) -> Gates:
    """Return untrained gates for these slots."""
    return Gates({slot.name: slot.d_out for slot in slots}, spec)


def save(gates: Gates, slots: Sequence[Slot], folder: Path) -> None:
    """Write config.json and model.safetensors, each atomically.

    slots: the base's canonical ones, whatever view the gates have.
    """
    config = {"schema": SCHEMA, "slots": digest_of(slots), "spec": asdict(gates.spec)}
    write_atomic(folder / "config.json", canonical_json(config) + "\n")
    write_atomic(folder / "model.safetensors", save_tensors(_tensors(gates)))


def load(slots: Sequence[Slot], folder: Path) -> Gates:
    """Read trained gates back, frozen, in float32.

    slots: the base's canonical ones. Raises MissingArtifact when there are no gates or they are damaged,
    MismatchError when they were trained for another base.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tensors = load_tensors((folder / "model.safetensors").read_bytes())
        spec = GateSpec(**config["spec"])
    except FileNotFoundError as error:
        raise MissingArtifact(
            f"no trained gates in {folder}: run `dvc repro fusion`, or use the method `direct`"
        ) from error
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise MissingArtifact(
            f"the gates in {folder} cannot be read: {error}; run `dvc repro fusion`"
        ) from error
    if config["slots"] != digest_of(slots):
        raise MismatchError(f"the gates in {folder} were trained for another base; run `dvc repro fusion`")
    return assemble(tensors, spec)


def assemble(tensors: Mapping[str, Tensor], spec: GateSpec) -> Gates:
    """Return frozen gates with these tensors, in float32; their names and widths say which slots they are of.

    Raises MismatchError when the tensors are not those of such gates.
    """
    with torch.device("meta"):
        gates = Gates(
            {
                unescape(match[1]): len(one)
                for name, one in tensors.items()
                if (match := BIAS.fullmatch(name))
            },
            spec,
        )
    try:
        gates.load_state_dict({name: one.float() for name, one in tensors.items()}, assign=True)
    except RuntimeError as error:
        raise MismatchError(f"these are no gates of the form '{spec.form}': {error}") from error
    return gates.eval().requires_grad_(False)


def rows(gates: Gates) -> dict[str, str]:
    """Return tensor name -> sha256 over its shape, type and bytes."""
    return {name: _hash(tensor) for name, tensor in _tensors(gates).items()}


def digest(gates: Gates) -> str:
    """Return the sha256 that `digests/fusion.json` holds for these gates."""
    return hash_value([SCHEMA, sorted(rows(gates).items())])


def digest_of(slots: Sequence[Slot]) -> str:
    """Return the sha256 of the slots' names and shapes: equal for equal bases."""
    return hash_value([[slot.name, slot.d_in, slot.d_out] for slot in slots])


def _tensors(gates: Gates) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in gates.state_dict().items()}


def _hash(tensor: Tensor) -> str:
    content = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    content.update(tensor.numpy().tobytes())
    return content.hexdigest()
