"""Pretrained gates: load them from a folder or Hugging Face, write trained ones as a folder.

    from autolora.fusion.pretrained import load_pretrained
    pretrained = load_pretrained("owner/name", revision="0123...")
    pretrained.check_fits(transformer_config)

`autolora.pretrained.folder.push_to_hub` uploads such a folder.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora.errors import MismatchError, ParamsError
from autolora.fusion import store
from autolora.fusion.gate import Gates
from autolora.lora.slots import unescape
from autolora.pretrained.card import CardFacts
from autolora.pretrained.config import DType, PretrainedConfig, TrainingSet
from autolora.pretrained.folder import claim_folder, read_folder, write_folder
from autolora.pretrained.source import locate


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedGates:
    """Gates that were trained elsewhere."""

    gates: Gates
    """frozen, in evaluation mode, in float32"""
    folder: Path
    config: PretrainedConfig

    def check_fits(self, transformer: Mapping[str, Any]) -> None:
        """Raise MismatchError if the gates were trained for another base model.

        transformer: config of the base model's FluxTransformer2DModel.
        """
        own, expected = _widths(self.gates), _widths(store.build(transformer, self.gates.variant))
        if own != expected:
            fitting = len(own.items() & expected.items())
            raise MismatchError(
                f"{self.folder} has {len(own)} gates, of which {fitting} fit the {len(expected)} slots of the base "
                "model: set models.pipeline in params.yaml to the base model that they were trained for, or use gates "
                "for this one"
            )


def load_pretrained(source: str | Path, revision: str | None = None) -> PretrainedGates:
    """Return pretrained gates from a folder or a Hugging Face id (owner/name).

    revision: a commit, branch or tag of an id; None is its current version.
    Raises MissingArtifact if there are none or they are damaged, MismatchError if they are of another layout or
    contradict their config, HubError if they cannot be downloaded.
    """
    folder = locate(source, revision, "gates")
    store.check_exported(folder)
    config, tensors = read_folder(folder, "gates")
    try:
        variant = store.read_variant(config.model.get("variant"))
        gates = store.assemble(tensors, variant, store.find_widths(tensors))
    except (ParamsError, MismatchError) as error:
        raise MismatchError(
            f"the gates in {folder} do not fit the config.json beside them ({error}): copy or download both again, or "
            "install the version of AutoLoRA that wrote them"
        ) from error
    return PretrainedGates(gates, folder, config)


def save_pretrained(
    folder: Path,
    gates: Gates,
    training: TrainingSet,
    facts: CardFacts,
    *,
    dtype: DType = "float32",
) -> PretrainedConfig:
    """Write gates as a folder that `load_pretrained` reads, and return its config.

    Raises MismatchError if the precision is int8, which has no scale here, or cannot hold the weights.
    """
    if dtype == "int8":
        raise MismatchError("gates are stored as float32 or float16, not as int8: use float16")
    precision = torch.float32 if dtype == "float32" else torch.float16
    trained = {name: tensor.detach().cpu().contiguous() for name, tensor in gates.state_dict().items()}
    stored = {name: tensor.to(precision) for name, tensor in trained.items()}
    if too_large := [name for name, tensor in stored.items() if tensor.isinf().any()]:
        raise MismatchError(f"tensor {too_large[0]} has values that are too large for float16: use float32")
    claim_folder(folder, "gates")
    config = PretrainedConfig(
        kind="gates",
        model={"variant": asdict(gates.variant)},
        training=training,
        dtype=dtype,
        rank=None,
        weights_error=max(map(_error, trained.values(), stored.values())),
        files={},
    )
    return write_folder(folder, config, facts, stored)


def _widths(gates: Gates) -> dict[str, int]:
    """Return slot -> width of its gate."""
    return {unescape(name): gates.of(unescape(name)).width for name in gates.model_dict}


def _error(trained: Tensor, stored: Tensor) -> float:
    """Return ‖stored - trained‖ / ‖trained‖; 0 if both are 0."""
    return float(
        (stored.float() - trained).norm() / trained.norm().clamp_min(torch.finfo(torch.float32).tiny)
    )
