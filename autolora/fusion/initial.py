"""The gates that a training starts with: random ones, or those of another training, here or by the paper's authors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store
from autolora.fusion.gate import Gates
from autolora.fusion.pretrained import load_pretrained
from autolora.fusion.released_format import load_published
from autolora.params import FusionParams
from autolora.presets.fusion import FusionVariant

ARCHITECTURE = ("slots", "gate", "relevance")
"""fields of a variant that decide which tensors gates have"""


def initial_gates(root: Path, params: FusionParams, transformer: Mapping[str, Any]) -> Gates:
    """Return gates to train, in float32, on the CPU; random ones depend on the seed only.

    root: to which a relative `fusion.init` belongs. transformer: config of the base model's FluxTransformer2DModel.
    Raises MissingArtifact if the gates of `fusion.init` are missing or damaged, MismatchError if they are of another
    base model, or have other terms than the variant that is trained.
    """
    if params.init is None:
        torch.manual_seed(params.seed)
        return store.build(transformer, params.variant)
    path = root / Path(params.init).expanduser()
    try:
        if path.parent == store.folder(root):
            store.check_exported(path.parent)
        found = _load(path, transformer)
    except (MissingArtifact, MismatchError) as error:
        raise type(error)(f"fusion.init is {params.init}, which cannot be used: {error}") from error
    _check_architecture(path, found.variant, params.variant)
    tensors = found.state_dict()
    gates = store.assemble(tensors, params.variant, store.find_widths(tensors))
    return gates.train().requires_grad_(True)


def _load(path: Path, transformer: Mapping[str, Any]) -> Gates:
    """Return the gates of a pretrained folder or a published file."""
    if path.is_dir():
        pretrained = load_pretrained(path)
        pretrained.check_fits(transformer)
        return pretrained.gates
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: give a folder that `autolora publish gates FOLDER` has written, a file of gates "
            "that their authors have published, or null for random ones"
        )
    return load_published(path, transformer)


def _check_architecture(path: Path, found: FusionVariant, trained: FusionVariant) -> None:
    """Raise MismatchError if gates have other terms, or other slots, than a variant."""
    wrong = {
        name: getattr(found, name) for name in ARCHITECTURE if getattr(found, name) != getattr(trained, name)
    }
    if wrong:
        settings = ", ".join(f"{name}: {value}" for name, value in wrong.items()).lower()
        raise MismatchError(
            f"{path}, from which the training shall start, has gates with {settings}: set this in fusion.overrides, or "
            "use other gates in fusion.init"
        )
