"""The base model that files are inspected for: FLUX.1-dev, or the one of a pipeline's folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autolora import models
from autolora.errors import MissingArtifact
from autolora.local.project import TEMPLATE
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import FusedSlot, Slot, fused_slots, hidden_size, slots
from autolora.params import Params, PoolParams, load

FLUX_DEV_NAME = "flux.1-dev"
VARIANTS = "its variants schnell, Krea and Kontext have the same layers"


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """A base model and the limits within which its LoRA files are read."""

    name: str
    """FLUX_DEV_NAME, or the folder or hub id of a pipeline"""
    transformer: Mapping[str, Any]
    """config of the transformer"""
    bounds: PoolParams

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The canonical slots."""
        return slots(self.transformer)

    @cached_property
    def fused_slots(self) -> tuple[FusedSlot, ...]:
        """The fused slots."""
        return fused_slots(self.transformer)

    @property
    def spec(self) -> SketchSpec:
        """The specification of the sketches."""
        return SketchSpec(self.bounds.sketch_size)

    @property
    def description(self) -> str:
        """The name, and the number and width of the blocks."""
        config = self.transformer
        shape = (
            f"{config['num_layers']} double and {config['num_single_layers']} single blocks of width "
            f"{hidden_size(config)}"
        )
        return f"{self.name} ({shape}{f'; {VARIANTS}' if self.name == FLUX_DEV_NAME else ''})"


def open_base_model(pipeline: str | None, params: Params | None) -> BaseModel:
    """Return the base model that is named, else that of a project, else FLUX.1-dev.

    pipeline: FLUX_DEV_NAME or a FluxPipeline's folder. params: of the project; the working directory is its root.
    Raises MissingArtifact or HubError if the transformer's config cannot be read.
    """
    bounds = bounds_of(params)
    if pipeline is None and params and params.models.pipeline != models.FLUX_1_DEV:
        return BaseModel(
            name=params.models.pipeline, transformer=models.transformer_config(params.models), bounds=bounds
        )
    if pipeline is None or pipeline == FLUX_DEV_NAME:
        return BaseModel(name=FLUX_DEV_NAME, transformer=models.FLUX_1_DEV_TRANSFORMER, bounds=bounds)
    return BaseModel(name=pipeline, transformer=_read_config(Path(pipeline)), bounds=bounds)


def bounds_of(params: Params | None) -> PoolParams:
    """Return the limits on files of a project; None: those that a new project has."""
    return params.pool if params else load(TEMPLATE).pool


def _read_config(pipeline: Path) -> dict[str, Any]:
    """Return the config of the transformer of a pipeline's folder."""
    path = pipeline / "transformer" / "config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        slots(config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingArtifact(
            f"cannot read {path}: {error}; give the folder of a FluxPipeline, or {FLUX_DEV_NAME}"
        ) from error
    return config
