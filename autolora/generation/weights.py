"""Where the weights of a collection's adapters are: in a project, or at the hubs that a published index names.

torch is imported when weights are read: a search needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autolora.lora.slots import Slot, slots
from autolora.params import ModelsParams, PoolParams
from autolora.publication.manifest import PublishedIndex

if TYPE_CHECKING:
    from autolora.lora.factors import Lora


class AdapterWeights(Protocol):
    """Reads the weights of adapters."""

    def base_slots(self) -> tuple[Slot, ...]:
        """Return the canonical slots of the base model that the adapters were made for."""

    def load(self, sha256: str, slots: Sequence[Slot]) -> "Lora":
        """Return the updates of an adapter for the canonical slots of a transformer."""


@dataclass(frozen=True, slots=True)
class ProjectWeights:
    """The weights in the pool of a project."""

    root: Path
    models: ModelsParams
    bounds: PoolParams

    def base_slots(self) -> tuple[Slot, ...]:
        """Return the canonical slots of `models.pipeline`; raises MissingArtifact if its config cannot be read."""
        from autolora.models import relative_to, transformer_config

        return slots(transformer_config(relative_to(self.root, self.models)))

    def load(self, sha256: str, slots: Sequence[Slot]) -> "Lora":
        """Return the updates of an adapter. Raises as `autolora.pool.weights.load_lora`."""
        from autolora.pool.weights import load_lora

        return load_lora(self.root, sha256, slots, self.bounds)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """The weights that a published index names, downloaded when they are needed."""

    folder: Path
    cache: Path
    """folder of the downloaded files"""
    index: PublishedIndex

    def base_slots(self) -> tuple[Slot, ...]:
        """Return the canonical slots of the base model that the index was made for."""
        return slots(self.index.transformer)

    def load(self, sha256: str, slots: Sequence[Slot]) -> "Lora":
        """Return the updates of an adapter. Raises as `autolora.publication.weights.load_lora`."""
        from autolora.publication.weights import load_lora

        return load_lora(self.folder, self.cache, sha256, slots, self.index.settings)
