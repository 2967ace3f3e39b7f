"""The pool in data/pool: paths, rows and sketches.

batches/<batch>/weights/<sha256>.safetensors   accepted files and near-duplicates, as downloaded
batches/<batch>/renderings/<sha256>.png        re-encoded images, named by the sha256 of the download
sketches/<batch>-<recipe>.safetensors          the sketches of a batch (autolora/pool/sketch_packs.py)
batches.jsonl                                  the batch of each file (autolora/pool/batches.py)
adapters.jsonl                                 one row per LoRA file that was read, refused files included
renderings.jsonl                               one row per image
refused.jsonl                                  one row per refused image
near_duplicates.jsonl                          similar pairs of adapters (autolora/pool/near_duplicates.py)
open/                                          files that no batch contains yet; links to one's own files
incoming/                                      partial downloads

A file in a batch is never changed or removed. The field `active` of a row tells whether the catalog lists the file or
image now; the functions here return active rows only, so later stages see the pool that the catalog describes.
"""

from collections.abc import Iterator
from pathlib import Path

from autolora.pool.batches import file_path, open_folder
from autolora.pool.evicted import has_content, local_path
from autolora.pool.sketch_packs import find_sketches, load_fingerprints, load_sketch, save_sketch
from autolora.records import Adapter, PooledRendering
from autolora.storage.files import Row, read_rows

__all__ = [
    "find_sketches",
    "load_fingerprints",
    "load_sketch",
    "save_sketch",
]
TABLES = ("adapters", "renderings", "refused", "near_duplicates")


def folder(root: Path) -> Path:
    """Return the folder of the pool."""
    return root / "data" / "pool"


def weights_path(root: Path, sha256: str) -> Path:
    """Return the path from which a stored LoRA file is read; one of an evicted batch is fetched first.

    Raises MissingArtifact if it cannot be fetched.
    """
    return local_path(root, "weights", sha256)


def has_weights(root: Path, sha256: str) -> bool:
    """Return whether the pool has the content of a LoRA file; that of a file that was taken down is empty."""
    return has_content(root, "weights", sha256)


def is_link_outside(root: Path, sha256: str) -> bool:
    """Return whether the pool links to a LoRA file that is somebody's own (`autolora index`); such a file may change.

    Links of DVC are in closed batches.
    """
    path = file_path(root, "weights", sha256)
    return path.is_symlink() and path.is_relative_to(open_folder(root))


def has_rendering(root: Path, sha256: str) -> bool:
    """Return whether the pool has the content of an image, as `has_weights` does."""
    return has_content(root, "renderings", sha256)


def rendering_path(root: Path, sha256: str) -> Path:
    """Return the path from which a re-encoded image is read, as `weights_path`, given the sha256 of its download."""
    return local_path(root, "renderings", sha256)


def incoming(root: Path) -> Path:
    """Return the folder of incomplete downloads."""
    return folder(root) / "incoming"


def table_path(root: Path, name: str) -> Path:
    """Return the path of one of the TABLES."""
    return folder(root) / f"{name}.jsonl"


def adapters(root: Path) -> dict[str, Adapter]:
    """Return the active rows of accepted and refused files by Listing.key."""
    return {row["key"]: Adapter.from_row(row) for row in _active_rows(root, "adapters")}


def renderings(root: Path) -> dict[str, PooledRendering]:
    """Return the active rows of the stored images by ListedRendering.key."""
    return {row["key"]: PooledRendering(**row) for row in _active_rows(root, "renderings")}


def _active_rows(root: Path, name: str) -> Iterator[Row]:
    """Yield the active rows of a table, without the fields that the end of a run adds."""
    for row in read_rows(table_path(root, name)):
        row.pop("row_hash", None)
        if row.pop("active", True):
            yield row
