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
MIN_SHARE = 1e-4
"""as in autolora.encoder.text_map"""


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
        """Return the unit vectors (N, d) of text features (N, d); zero for those of the empty prompt."""
        centered = features - self.center
        mapped = centered @ self.matrix
        lengths = np.linalg.norm(mapped, axis=-1, keepdims=True)
        is_empty = lengths < MIN_SHARE * np.linalg.norm(centered, axis=-1, keepdims=True)
        unit: Float32Array = np.where(is_empty, np.float32(0), mapped / np.maximum(lengths, 1e-12))
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
