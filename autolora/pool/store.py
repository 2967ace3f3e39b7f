"""Paths, rows and sketches of the pool in data/pool.

weights/ab/<sha256>.safetensors   accepted files and near-duplicates, as downloaded
sketches/ab/<sha256>.safetensors  values (S, m, p) float16, to be multiplied by scale (S,); present (S,) bool;
                                  fingerprint (WIDTH,) float32
renderings/ab/<sha256>.png        re-encoded images, named by the sha256 of the download
adapters.jsonl                    one row per LoRA file, refused files included
renderings.jsonl                  one row per image in renderings/
refused.jsonl                     one row per refused image
near_duplicates.jsonl             similar pairs of adapters (autolora/pool/near_duplicates.py)
files.json                        expected content of the folders and refused.jsonl: counts and one sha256

DVC tracks adapters.jsonl, renderings.jsonl and files.json, not the folders: it checks each tracked file in every run,
and a hub has very many files (docs/howto/nightly.md).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from autolora.errors import MissingArtifact, rerun
from autolora.lora.fingerprint import WIDTH, fingerprint
from autolora.lora.sketch import Sketch
from autolora.records import Adapter, PooledRendering
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, append_rows, read_rows, sharded, write_atomic

TABLES = ("adapters", "renderings", "refused", "near_duplicates")
TRACKED = TABLES[:2]
"""tracked by DVC; the stage rebuilds the other tables if they are lost"""
FOLDERS = ("weights", "sketches", "renderings")

_appending = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRendering:
    """One line of data/pool/refused.jsonl: an image that was refused and is not downloaded again."""

    key: str
    """ListedRendering.key"""
    code: str
    reason: str


def folder(root: Path) -> Path:
    """Return the folder of the pool."""
    return root / "data" / "pool"


def weights_path(root: Path, sha256: str) -> Path:
    """Return the path of a stored LoRA file."""
    return sharded(folder(root) / "weights", sha256, ".safetensors")


def sketch_path(root: Path, sha256: str) -> Path:
    """Return the path of the sketch of a stored LoRA file."""
    return sharded(folder(root) / "sketches", sha256, ".safetensors")


def rendering_path(root: Path, sha256: str) -> Path:
    """Return the path of a re-encoded image, given the sha256 of its download."""
    return sharded(folder(root) / "renderings", sha256, ".png")


def incoming(root: Path) -> Path:
    """Return the folder of incomplete downloads."""
    return folder(root) / "incoming"


def table_path(root: Path, name: str) -> Path:
    """Return the path of one of the TABLES."""
    return folder(root) / f"{name}.jsonl"


def inventory_path(root: Path) -> Path:
    """Return the path of files.json, which states the expected content of the FOLDERS."""
    return folder(root) / "files.json"


def adapters(root: Path) -> dict[str, Adapter]:
    """Return the rows of accepted and refused files by Listing.key."""
    return {row["key"]: Adapter.from_row(row) for row in read_rows(table_path(root, "adapters"))}


def renderings(root: Path) -> dict[str, PooledRendering]:
    """Return the rows of the stored images by ListedRendering.key."""
    return {row["key"]: PooledRendering(**row) for row in read_rows(table_path(root, "renderings"))}


def refused_renderings(root: Path) -> dict[str, RefusedRendering]:
    """Return the rows of the refused images by ListedRendering.key."""
    return {row["key"]: RefusedRendering(**row) for row in read_rows(table_path(root, "refused"))}


def append(root: Path, name: str, rows: Sequence[Row]) -> None:
    """Append rows to one of the TABLES; thread-safe."""
    if rows:
        with _appending:
            append_rows(table_path(root, name), rows)


def save_sketch(root: Path, sha256: str, sketch: Sketch) -> None:
    """Write the sketch of an adapter."""
    write_atomic(sketch_path(root, sha256), serialize_sketch(sketch))


def serialize_sketch(sketch: Sketch) -> bytes:
    """Return a sketch in the pool's file format: float16 relative to each slot's largest entry, and a fingerprint.

    The fingerprint is computed from the rounded values.
    """
    scale = sketch.values.abs().amax(dim=(1, 2)).to(torch.float32)  # (S,)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    values = (sketch.values / unit[:, None, None]).to(torch.float16)
    rounded = (values.float() * scale[:, None, None]).numpy()
    tensors = {
        "values": values,
        "scale": scale,
        "present": sketch.present,
        "fingerprint": torch.from_numpy(fingerprint(rounded)),
    }
    content: bytes = save(tensors)
    return content


def load_sketch(root: Path, sha256: str) -> Sketch:
    """Return the sketch of a stored adapter: values (S, m, p) float32, present (S,) bool.

    Raises MissingArtifact if the sketch is missing or damaged.
    """
    path = sketch_path(root, sha256)
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise _unreadable_sketch(path, error) from error
    values = tensors["values"].float() * tensors["scale"][:, None, None]
    return Sketch(values, tensors["present"])


def load_fingerprints(root: Path, adapters: Sequence[str]) -> Float32Array:
    """Return the fingerprints (N, WIDTH) of the sketches of stored adapters (sha256); reads 4 kB per adapter.

    Raises MissingArtifact if a sketch is missing or damaged.
    """
    prints = np.empty((len(adapters), WIDTH), dtype=np.float32)
    for position, sha256 in enumerate(adapters):
        path = sketch_path(root, sha256)
        try:
            with safe_open(path, framework="numpy") as file:
                prints[position] = file.get_tensor("fingerprint")
        except (FileNotFoundError, SafetensorError) as error:
            raise _unreadable_sketch(path, error) from error
    return prints


def _unreadable_sketch(path: Path, error: Exception) -> MissingArtifact:
    return MissingArtifact(
        f"{path} cannot be read ({error}): the sketch of this adapter is missing or damaged; {rerun('pool')}"
    )
