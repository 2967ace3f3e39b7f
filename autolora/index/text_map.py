"""The encoder's text map as an index stores it and searches apply it, without torch."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from autolora.errors import MissingArtifact
from autolora.storage.arrays import Float32Array
from autolora.storage.files import write_atomic

FILE = "text_map.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class TextMap:
    """unit((features - center) · matrix)."""

    center: Float32Array
    """(d,)"""
    matrix: Float32Array
    """(d, d)"""

    @property
    def width(self) -> int:
        """Return the width d of the text features."""
        return len(self.center)

    def apply(self, features: Float32Array) -> Float32Array:
        """Return the unit vectors (N, d) of text features (N, d)."""
        mapped = (features - self.center) @ self.matrix
        unit: Float32Array = mapped / np.maximum(np.linalg.norm(mapped, axis=-1, keepdims=True), 1e-12)
        return unit


def write_text_map(folder: Path, text_map: TextMap) -> None:
    """Write the text map into the folder of an index, atomically."""
    write_atomic(folder / FILE, save({"center": text_map.center, "matrix": text_map.matrix}))


def read_text_map(folder: Path) -> TextMap:
    """Return the text map of the index in a folder. Raises MissingArtifact if it is missing or damaged."""
    try:
        return TextMap(**load_file(folder / FILE))
    except (OSError, TypeError, SafetensorError) as error:
        raise MissingArtifact(
            f"{folder / FILE} is not a valid text map ({error}): run `dvc repro index`"
        ) from error
