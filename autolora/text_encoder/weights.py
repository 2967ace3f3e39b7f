"""Weights of a text encoder, mapped from a safetensors file: their values are read from the disk when they are used."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.errors import MissingArtifact, RefusedFile
from autolora.lora.header import LENGTH_BYTES, Header, header_length, parse_header
from autolora.storage.arrays import Float32Array

WEIGHTS = "model.safetensors"
"""name of the file in a model's folder"""
HASHES = "text_encoder_hashes.json"
"""name of the cache of the hashes of models' files"""
BUFFERS = ("position_ids",)
"""last parts of the names of tensors that are no weights, which earlier versions of transformers stored as integers"""
MAX_HEADER_BYTES = 25_000_000
Stored = NDArray[Any]
"""values in the dtype of the file, see `to_float32`"""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""dtype of a tensor -> that of its mapped values; bfloat16 is unknown to NumPy, so its bits are read as integers"""


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one file, as they are stored."""

    path: Path
    tensors: dict[str, Stored]

    def stored(self, name: str, *shape: int) -> Stored:
        """Return a tensor as it is stored, for `to_float32`. Raises MissingArtifact without a tensor of this shape."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            actual = "is missing" if tensor is None else f"has the shape {tensor.shape}"
            raise MissingArtifact(
                f"{self.path}: the tensor '{name}' {actual}, but config.json requires the shape {shape}; "
                "build or download the text encoder again"
            )
        return tensor

    def float32(self, name: str, *shape: int) -> Float32Array:
        """Return a tensor in float32, which is mapped if it is stored so. Raises as `stored`."""
        return to_float32(self.stored(name, *shape))


def read_weights(path: Path, prefix: str) -> Weights:
    """Map the weights in a file.

    prefix: with which the names in some files begin; it is removed. The file may be replaced while it is mapped, but
    not written in place. Raises MissingArtifact if it is missing, damaged or has tensors of another dtype.
    """
    try:
        header = _read_header(path)
        data = np.memmap(path, dtype=np.uint8, mode="r")
        names = [name for name in header.tensors if name.rpartition(".")[2] not in BUFFERS]
        tensors = {name.removeprefix(prefix): _view(data, header, name) for name in names}
    except (OSError, ValueError, RefusedFile) as error:
        raise MissingArtifact(
            f"cannot load {path}: {error}; build or download the text encoder again"
        ) from error
    return Weights(path, tensors)


def to_float32(stored: Stored) -> Float32Array:
    """Return stored values in float32: the bits of a bfloat16 are the upper half of those of a float32."""
    if stored.dtype != DTYPES["BF16"]:
        return stored.astype(np.float32, copy=False)
    bits = stored.astype("<u4")
    bits <<= 16
    return bits.view(np.float32)


def _read_header(path: Path) -> Header:
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = header_length(stream.read(2 * LENGTH_BYTES), size, MAX_HEADER_BYTES)
        stream.seek(LENGTH_BYTES)
        return parse_header(stream.read(length), size - LENGTH_BYTES - length)


def _view(data: NDArray[np.uint8], header: Header, name: str) -> Stored:
    """Return the values of a tensor in the mapped file. Raises ValueError if its dtype is unsupported."""
    entry = header.tensors[name]
    if entry.dtype not in DTYPES:
        raise ValueError(
            f"the tensor '{name}' has the dtype {entry.dtype}, expected one of {', '.join(DTYPES)}"
        )
    values = data[header.start + entry.begin : header.start + entry.end]
    return np.asarray(values).view(DTYPES[entry.dtype]).reshape(entry.shape)
