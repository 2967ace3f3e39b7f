"""The pool: what lies in data/pool.

weights/ab/<sha256>.safetensors   accepted files, as they were downloaded
sketches/ab/<sha256>.safetensors  values (S, m, p) float16, to be multiplied by scale (S,); present (S,);
                                  fingerprint (WIDTH,) float32 of all that
renderings/ab/<sha256>.png        pictures, re-encoded; named by the sha256 of what was downloaded
adapters.jsonl, renderings.jsonl  a row for each, refused files of LoRAs included
refused.jsonl                     pictures that are none
alike.jsonl                       which adapters are near-duplicates of which (autolora/pool/near_duplicates.py)
files.json                        what the folders and refused.jsonl should hold, in one number

DVC has the first two tables and the number, not the folders: it looks at every file that it has, and a hub has very
many (docs/howto/nightly.md).
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from autolora.errors import MissingArtifact
from autolora.lora.fingerprint import WIDTH, Floats, fingerprint
from autolora.lora.sketch import Sketch
from autolora.records import Adapter, PooledRendering
from autolora.storage.files import Row, append_rows, read_rows, sharded, write_atomic

TABLES = ("adapters", "renderings", "refused", "alike")
TRACKED = TABLES[:2]
"""DVC's; the others are remembered by the stage alone, and made anew where they are lost"""
FOLDERS = ("weights", "sketches", "renderings")
AGAIN = "run `dvc repro --force --single-item pool`"

_appending = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRendering:
    """One line of data/pool/refused.jsonl: a picture that is none; it is not downloaded again."""

    key: str
    """ListedRendering.key"""
    code: str
    reason: str


def folder(root: Path) -> Path:
    """Return where the pool lies."""
    return root / "data" / "pool"


def weights_path(root: Path, sha256: str) -> Path:
    """Return where an accepted LoRA file lies."""
    return sharded(folder(root) / "weights", sha256, ".safetensors")


def sketch_path(root: Path, sha256: str) -> Path:
    """Return where the sketch of an accepted LoRA file lies."""
    return sharded(folder(root) / "sketches", sha256, ".safetensors")


def rendering_path(root: Path, sha256: str) -> Path:
    """Return where a picture lies, by the sha256 of what was downloaded."""
    return sharded(folder(root) / "renderings", sha256, ".png")


def incoming(root: Path) -> Path:
    """Return the folder of unfinished downloads."""
    return folder(root) / "incoming"


def table_path(root: Path, name: str) -> Path:
    """Return where one of the TABLES lies."""
    return folder(root) / f"{name}.jsonl"


def note_path(root: Path) -> Path:
    """Return where it is noted what the FOLDERS hold."""
    return folder(root) / "files.json"


def adapters(root: Path) -> dict[str, Adapter]:
    """Return the rows of accepted and refused files by Listing.key."""
    return {row["key"]: Adapter.from_row(row) for row in read_rows(table_path(root, "adapters"))}


def renderings(root: Path) -> dict[str, PooledRendering]:
    """Return the pictures that were accepted by ListedRendering.key."""
    return {row["key"]: PooledRendering(**row) for row in read_rows(table_path(root, "renderings"))}


def refused_renderings(root: Path) -> dict[str, RefusedRendering]:
    """Return the pictures that were refused by ListedRendering.key."""
    return {row["key"]: RefusedRendering(**row) for row in read_rows(table_path(root, "refused"))}


def append(root: Path, name: str, rows: Sequence[Row]) -> None:
    """Append rows to one of the TABLES; safe from several threads."""
    if rows:
        with _appending:
            append_rows(table_path(root, name), rows)


def save_sketch(root: Path, sha256: str, sketch: Sketch) -> None:
    """Save a sketch."""
    write_atomic(sketch_path(root, sha256), pack(sketch))


def pack(sketch: Sketch) -> bytes:
    """Return a sketch as it is kept: in half precision, each slot relative to its largest entry; its fingerprint."""
    scale = sketch.values.abs().amax(dim=(1, 2)).to(torch.float32)  # (S,)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    values = (sketch.values / unit[:, None, None]).to(torch.float16)
    whole = (values.float() * scale[:, None, None]).numpy()
    tensors = {
        "values": values,
        "scale": scale,
        "present": sketch.present,
        "fingerprint": torch.from_numpy(fingerprint(whole)),
    }
    packed: bytes = save(tensors)
    return packed


def load_sketch(root: Path, sha256: str) -> Sketch:
    """Return the sketch of an accepted adapter: values (S, m, p) float32, present (S,) bool.

    Raises MissingArtifact when the pool has none.
    """
    path = sketch_path(root, sha256)
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise _no_sketch(path, error) from error
    values = tensors["values"].float() * tensors["scale"][:, None, None]
    return Sketch(values, tensors["present"])


def load_fingerprints(root: Path, adapters: Sequence[str]) -> Floats:
    """Return the fingerprints (N, WIDTH) of accepted adapters' sketches, by sha256; 4 kB of each file are read.

    Raises MissingArtifact when the pool lacks one.
    """
    prints = np.empty((len(adapters), WIDTH), dtype=np.float32)
    for place, sha256 in enumerate(adapters):
        path = sketch_path(root, sha256)
        try:
            with safe_open(path, framework="numpy") as file:
                prints[place] = file.get_tensor("fingerprint")
        except (FileNotFoundError, SafetensorError) as error:
            raise _no_sketch(path, error) from error
    return prints


def _no_sketch(path: Path, error: Exception) -> MissingArtifact:
    return MissingArtifact(
        f"{path} cannot be read ({error}): the pool has no sketch of that adapter; {AGAIN}"
    )
