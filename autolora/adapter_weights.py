"""Where the weights of a pool's adapters are: in a project, or at the hubs that a published index names.

torch is imported when weights are read: a search needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from autolora.params import PoolParams
from autolora.publication.manifest import PoolSettings

if TYPE_CHECKING:
    from autolora.lora.factors import Lora
    from autolora.slots import Slot


class AdapterWeights(Protocol):
    """Reads the weights of adapters."""

    def load(self, sha256: str, slots: "Sequence[Slot]") -> "Lora":
        """Return the updates of an adapter for the canonical slots of a transformer."""

    def path(self, sha256: str) -> Path:
        """Return the file of an adapter that has been loaded."""


@dataclass(frozen=True, slots=True)
class ProjectWeights:
    """The weights in the pool of a project."""

    root: Path
    bounds: PoolParams

    def load(self, sha256: str, slots: "Sequence[Slot]") -> "Lora":
        """Return the updates of an adapter; raises MissingArtifact if its weights are missing or damaged."""
        from autolora.pool.weights import load_lora

        return load_lora(self.root, sha256, slots, self.bounds)

    def path(self, sha256: str) -> Path:
        """Return the file of an adapter."""
        from autolora.pool.store import weights_path

        return weights_path(self.root, sha256).resolve()


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """The weights that a published index names, downloaded when they are needed."""

    folder: Path
    cache: Path
    """folder of the downloaded files"""
    settings: PoolSettings

    def load(self, sha256: str, slots: "Sequence[Slot]") -> "Lora":
        """Return the updates of an adapter; raises MissingArtifact or HubError if it cannot be downloaded or read."""
        from autolora.publication.weights import load_lora

        return load_lora(self.folder, self.cache, sha256, slots, self.settings)

    def path(self, sha256: str) -> Path:
        """Return the file of an adapter that has been loaded."""
        return self.cache / f"{sha256}.safetensors"
