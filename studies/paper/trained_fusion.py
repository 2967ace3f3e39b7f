"""Fusions that are trained for each set of adapters: rows of Table 2, and no methods of `generation.method`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from autolora.fusion.install import Attachment
from studies.paper.mole import Mole
from studies.paper.world import World
from studies.paper.ziplora import ZipLora


class TrainedFusion(Protocol):
    """Fuses adapters of a world after a training on their own images, whose result is kept in the world's cache."""

    facts: Mapping[str, Any]
    """what the hash of its images contains"""

    def attach(self, adapters: Sequence[str]) -> Attachment:
        """Let adapters (sha256) act in the world's pipeline; return what removes them.

        They are trained first if they were not before. Raises MissingArtifact if one has no captioned image.
        """


TRAINED: Mapping[str, Callable[[World], TrainedFusion]] = {"ZipLoRA": ZipLora, "MoLE": Mole}
"""name of the row -> fusion"""
