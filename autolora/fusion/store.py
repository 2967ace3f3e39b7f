"""Trained gates on disk: tensors, and beside them the config they are rebuilt from."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.fusion.gate import Gates
from autolora.lora.slots import Slot, fused_slots, slots
from autolora.params.reader import read_section
from autolora.presets.fusion import FusionVariant
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json, hash_value
from autolora.storage.incremental import write_digest

T = TypeVar("T")

SCHEMA = 3
FIELDS = ("schema", "slots", "variant")
"""of config.json"""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""of the tensors of gates"""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
NAMED = 3
"""tensors that an error names"""
RESTORE = (
    "restore the gates (`autolora verify` names the command), or write them again (`dvc repro --force --single-item "
    "fusion`)"
)


def folder(root: Path) -> Path:
    """Return the folder of the trained gates."""
    return root / "data" / "fusion"


def build(transformer: Mapping[str, Any], variant: FusionVariant) -> Gates:
    """Return untrained gates for the slots of a FluxTransformer2DModel config, in the variant's view."""
    view = fused_slots(transformer) if variant.slots == "fused" else slots(transformer)
    return Gates({slot.name: slot.d_out for slot in view}, variant)


def save(gates: Gates, slots: Sequence[Slot], path: Path) -> None:
    """Write config.json and model.safetensors into a folder, each atomically.

    slots: the canonical slots of the base model, also for gates on fused slots.
    """
    config = {"schema": SCHEMA, "slots": _digest_of_slots(slots), "variant": asdict(gates.variant)}
    write_atomic(path / CONFIG, canonical_json(config) + "\n")
    write_atomic(path / WEIGHTS, save_tensors(_tensors(gates)))


def load(slots: Sequence[Slot], path: Path) -> Gates:
    """Return the gates saved in a folder, frozen, in float32.

    slots: the canonical slots of the base model. Raises MissingArtifact if there are no gates or they are damaged,
    MismatchError if another version of AutoLoRA wrote them, they were trained for another base model, or the two files
    do not belong together.
    """
    variant, trained_for, tensors = _read(path)
    if trained_for != _digest_of_slots(slots):
        raise MismatchError(
            f"the gates in {path} were trained for another base model: set models.pipeline in params.yaml to that one, "
            "run `dvc repro fusion`, or use the method `direct`"
        )
    widths: Counter[str] = Counter()
    for slot in slots:
        widths[slot.fused if variant.slots == "fused" else slot.name] += slot.d_out
    try:
        return assemble(tensors, variant, widths)
    except MismatchError as error:
        raise MismatchError(f"{path / WEIGHTS}: {error}: {RESTORE}") from error


def _read(path: Path) -> tuple[FusionVariant, str, dict[str, Tensor]]:
    """Return variant, digest of the base model's slots, and tensors of the gates in a folder; errors as `load`."""
    if not (path / CONFIG).exists() and not (path / WEIGHTS).exists():
        raise MissingArtifact(
            f"no trained gates in {path}: run `dvc repro fusion`, restore them if they were trained (`autolora verify` "
            "names the command), or use the method `direct`"
        )
    config: Any = _parse(path / CONFIG, json.loads)
    tensors = _parse(path / WEIGHTS, load_tensors)
    try:
        if not isinstance(config, dict) or config.get("schema") != SCHEMA:
            raise ParamsError(f"it is not of schema {SCHEMA}")
        if set(config) != set(FIELDS) or not isinstance(config["slots"], str):
            raise ParamsError(f"its fields are {', '.join(sorted(config))}, expected {', '.join(FIELDS)}")
        return read_section(FusionVariant, config["variant"], "variant"), config["slots"], tensors
    except ParamsError as error:
        raise MismatchError(
            f"{path / CONFIG} was written by another version of AutoLoRA, or by hand ({error}): {RESTORE}"
        ) from error


def _parse(file: Path, parse: Callable[[bytes], T]) -> T:
    """Return the content of a file of the gates; raises MissingArtifact if it is missing or damaged."""
    problem: object
    try:
        return parse(file.read_bytes())
    except OSError as error:
        problem = error.strerror
    except (ValueError, RecursionError, SafetensorError) as error:
        problem = error
    raise MissingArtifact(f"{file} cannot be read ({problem}): {RESTORE}")


def assemble(tensors: Mapping[str, Tensor], variant: FusionVariant, widths: Mapping[str, int]) -> Gates:
    """Return frozen gates with these tensors, in float32.

    widths: slot -> width of its gate. Raises MismatchError if the tensors are not those of gates of this form, or of
    floating-point numbers, or a value is not finite.
    """
    try:
        with torch.device("meta"):
            gates = Gates(widths, variant)
    except KeyError as error:  # a name that the container of the gates has itself, such as `keys`
        raise MismatchError(f"not gates of a transformer: {error.args[0]}") from error
    expected = gates.state_dict()
    if difference := _difference(tensors, expected):
        raise MismatchError(
            f"not gates of the form '{variant.gate}', which have {len(expected)} tensors here: {difference}"
        )
    gates.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    if damaged := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise MismatchError(
            f"the gates have values that are not finite, first in '{damaged[0]}': their training diverged (use a "
            "smaller fusion.overrides.learning_rate), or the file is damaged"
        )
    return gates.eval().requires_grad_(False)


def _difference(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Return how many tensors are missing, unexpected, or of another shape or type, with the first names; or ""."""
    names = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
        "not of floating-point numbers": [
            f"{name} {str(tensor.dtype).removeprefix('torch.')}"
            for name, tensor in tensors.items()
            if tensor.dtype not in DTYPES
        ],
    }
    return "; ".join(
        f"{len(wrong)} {problem} ({', '.join(wrong[:NAMED])}{', …' if len(wrong) > NAMED else ''})"
        for problem, wrong in names.items()
        if wrong
    )


def write_fusion_digest(root: Path, gates: Gates, trained_from: Mapping[str, str], **counts: int) -> str:
    """Write `digests/fusion.json` and return its sha256, which covers the variant and what it was trained from.

    trained_from: name -> hash of each input of the training. The weights differ in their last bits between processors,
    so their hash is a field of its own, `weights`.
    """
    rows = {**trained_from, "variant": hash_value(asdict(gates.variant))}
    return write_digest(root, "fusion", rows, SCHEMA, weights=hash_weights(gates), **counts)


def hash_weights(gates: Gates) -> str:
    """Return the sha256 over all tensors (name, shape, type, bytes) of the gates."""
    return hash_value(sorted((name, _hash(tensor)) for name, tensor in _tensors(gates).items()))


def hash_gates(gates: Gates) -> str:
    """Return the sha256 over everything that gates compute with: their tensors and their variant."""
    return hash_value([hash_weights(gates), asdict(gates.variant)])


def _digest_of_slots(slots: Sequence[Slot]) -> str:
    """Return the sha256 of the slots' names and shapes: equal for base models of equal shape."""
    return hash_value([[slot.name, slot.d_in, slot.d_out] for slot in slots])


def _tensors(gates: Gates) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in gates.state_dict().items()}


def _hash(tensor: Tensor) -> str:
    content = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    content.update(tensor.numpy().tobytes())
    return content.hexdigest()
