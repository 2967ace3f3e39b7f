"""The stage `pool`: what lies in data/pool, what is missing of the catalog, and the digest of it all.

weights/ab/<sha256>.safetensors   accepted files, as they were downloaded
sketches/ab/<sha256>.safetensors  values (S, m, p) float16, to be multiplied by scale (S,); present (S,)
renderings/ab/<sha256>.png        pictures, re-encoded; named by the sha256 of what was downloaded
adapters.jsonl, renderings.jsonl  a row for each, refused files of LoRAs included
refused.jsonl                     pictures that are none
"""

import logging
import shutil
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from autolora.crawl import catalog
from autolora.errors import HubError, MissingArtefact
from autolora.files import Row, append_rows, hash_value, read_rows, sharded, write_atomic, write_rows
from autolora.incremental import pending, write_digest
from autolora.lora.read import READER_VERSION
from autolora.lora.sketch import Sketch, SketchSpec
from autolora.params import PoolParams
from autolora.records import Adapter, ListedRendering, Listing, PooledRendering
from autolora.slots import Slot, slots

SCHEMA = 1
"""version of the row layout"""
NAMED_IN_ERRORS = 10


logger = logging.getLogger(__name__)
_appending = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """On what terms a file is read: the base model's slots, the bounds, and the sketch's spec."""

    slots: tuple[Slot, ...]
    bounds: PoolParams

    @property
    def spec(self) -> SketchSpec:
        """What is kept of the weights."""
        return SketchSpec(self.bounds.sketch_size)

    @property
    def recipe(self) -> str:
        """The digest of everything but the file that a row depends on: another one reads the file again."""
        bounds = [self.bounds.max_header_mb, self.bounds.max_rank, self.bounds.min_known_keys]
        base = [[slot.name, slot.d_in, slot.d_out] for slot in self.slots]
        return hash_value([READER_VERSION, self.spec.key, bounds, base])[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRendering:
    """One line of data/pool/refused.jsonl: a picture that is none; it is not downloaded again."""

    key: str
    """ListedRendering.key"""
    code: str
    reason: str


def terms(config: Mapping[str, Any], bounds: PoolParams) -> Terms:
    """Return the terms for a base model's transformer config."""
    return Terms(slots=slots(config), bounds=bounds)


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


def adapters(root: Path) -> dict[str, Adapter]:
    """Return the rows of accepted and refused files by Listing.key."""
    return {row["key"]: Adapter.from_row(row) for row in read_rows(folder(root) / "adapters.jsonl")}


def renderings(root: Path) -> dict[str, PooledRendering]:
    """Return the pictures that were accepted by ListedRendering.key."""
    return {row["key"]: PooledRendering(**row) for row in read_rows(folder(root) / "renderings.jsonl")}


def refused_renderings(root: Path) -> dict[str, RefusedRendering]:
    """Return the pictures that were refused by ListedRendering.key."""
    return {row["key"]: RefusedRendering(**row) for row in read_rows(folder(root) / "refused.jsonl")}


def append(root: Path, name: str, rows: Sequence[Row]) -> None:
    """Append rows to one of the pool's tables; safe from several threads."""
    if rows:
        with _appending:
            append_rows(folder(root) / f"{name}.jsonl", rows)


def save_sketch(root: Path, sha256: str, sketch: Sketch) -> None:
    """Save a sketch in half precision, each slot relative to its largest entry."""
    scale = sketch.values.abs().amax(dim=(1, 2))  # (S,)
    unit = torch.where(scale > 0, scale, torch.ones_like(scale))
    tensors = {
        "values": (sketch.values / unit[:, None, None]).to(torch.float16),
        "scale": scale.to(torch.float32),
        "present": sketch.present,
    }
    write_atomic(sketch_path(root, sha256), save(tensors))


def load_sketch(root: Path, sha256: str) -> Sketch:
    """Return the sketch of an accepted adapter: values (S, m, p) float32, present (S,) bool.

    Raises MissingArtefact when the pool has none.
    """
    path = sketch_path(root, sha256)
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise MissingArtefact(
            f"{path} cannot be read ({error}): the pool has no sketch of that adapter; run `dvc repro pool`"
        ) from error
    values = tensors["values"].float() * tensors["scale"][:, None, None]
    return Sketch(values, tensors["present"])


def hubs(root: Path) -> list[str]:
    """Return the names of the hubs that the catalog's files come from."""
    return sorted({listing.hub for listing in catalog(root)})


def pending_adapters(root: Path, recipe: str) -> list[Listing]:
    """Return one listing for each file of the catalog that the pool has not read by this recipe yet."""
    wanted = {(listing.key, recipe): listing for listing in reversed(catalog(root))}
    found = pending(wanted, done_adapters(root)).add
    return sorted((wanted[key] for key in found), key=lambda listing: listing.key)


def pending_renderings(root: Path, recipe: str) -> list[tuple[str, ListedRendering]]:
    """Return the pictures of accepted adapters that the pool lacks, each with its hub."""
    wanted = {rendering.key: (hub, rendering) for hub, rendering in wanted_renderings(root, recipe)}
    return [wanted[key] for key in sorted(pending(wanted, done_renderings(root)).add)]


def done_adapters(root: Path, keys: Container[str] | None = None) -> set[tuple[str, str]]:
    """Return key and recipe of the files that were read and whose weights and sketch are there.

    keys: look after these only.
    """
    return {
        (key, row.recipe)
        for key, row in adapters(root).items()
        if (keys is None or key in keys) and (not row.accepted or _has_files(root, row.sha256))
    }


def done_renderings(root: Path, keys: Container[str] | None = None) -> set[str]:
    """Return the keys of the pictures that were refused, or accepted and are there.

    keys: look after these only.
    """
    shown = ((key, row) for key, row in renderings(root).items() if keys is None or key in keys)
    return refused_renderings(root).keys() | {
        key for key, row in shown if rendering_path(root, row.sha256).exists()
    }


def _has_files(root: Path, sha256: str) -> bool:
    return weights_path(root, sha256).exists() and sketch_path(root, sha256).exists()


def wanted_renderings(root: Path, recipe: str) -> Iterator[tuple[str, ListedRendering]]:
    """Yield the pictures, with their hub, of the catalog's files that were accepted."""
    rows = adapters(root)
    for listing in catalog(root):
        row = rows.get(listing.key)
        if row and row.accepted and row.recipe == recipe:
            yield from ((listing.hub, rendering) for rendering in listing.renderings)


def finish(root: Path, recipe: str, failures: Iterable[BaseException] = ()) -> None:
    """Keep rows and files of exactly what the catalog wants, and write the digest.

    failures: what stopped downloads. Raises HubError, when everything that is there is kept and counted, that
    names what is missing.
    """
    listings = catalog(root)
    read, shown, refused = adapters(root), renderings(root), refused_renderings(root)
    rows = {
        listing.key: read[listing.key]
        for listing in listings
        if listing.key in read and read[listing.key].recipe == recipe
    }
    pictures = {rendering.key for _, rendering in wanted_renderings(root, recipe)}
    tables = {
        "adapters": [rows[key].to_row() for key in sorted(rows)],
        "renderings": [_row(shown[key]) for key in sorted(pictures & shown.keys())],
        "refused": [_row(refused[key]) for key in sorted(pictures & refused.keys())],
    }
    for name, table in tables.items():
        if table or name == "adapters":  # DVC wants its out to be there, be it empty
            write_rows(folder(root) / f"{name}.jsonl", table)
        else:
            (folder(root) / f"{name}.jsonl").unlink(missing_ok=True)
    accepted = [row.sha256 for row in rows.values() if row.accepted]
    unread = {listing.key: listing.sha256 for listing in listings}
    _keep(
        root,
        weights=[*accepted, *(known for key, known in unread.items() if known and key not in rows)],
        sketches=accepted,
        pictures=[shown[key].sha256 for key in pictures & shown.keys()],
    )
    _write_digest(root, tables, num_accepted=len(accepted))
    _report_missing(root, recipe, failures)


def _row(value: PooledRendering | RefusedRendering) -> Row:
    return asdict(value)


def _write_digest(root: Path, tables: Mapping[str, Sequence[Row]], num_accepted: int) -> None:
    hashes = {f"{name}:{row['key']}": hash_value(row) for name, table in tables.items() for row in table}
    write_digest(
        root,
        "pool",
        hashes,
        SCHEMA,
        accepted=num_accepted,
        refused=len(tables["adapters"]) - num_accepted,
        renderings=len(tables["renderings"]),
    )


def _keep(root: Path, weights: Iterable[str], sketches: Iterable[str], pictures: Iterable[str]) -> None:
    """Remove files that no row stands for, also those of a killed run, and folders that this empties."""
    wanted = {weights_path(root, sha256) for sha256 in weights}
    wanted |= {sketch_path(root, sha256) for sha256 in sketches}
    wanted |= {rendering_path(root, sha256) for sha256 in pictures}
    shutil.rmtree(incoming(root), ignore_errors=True)
    for kind in ("weights", "sketches", "renderings"):
        for path in (folder(root) / kind).glob("*/*"):
            if path not in wanted:
                path.unlink()
                if not any(path.parent.iterdir()):
                    path.parent.rmdir()


def _report_missing(root: Path, recipe: str, failures: Iterable[BaseException]) -> None:
    names = sorted(f"{listing.id}/{listing.file}" for listing in pending_adapters(root, recipe))
    names += [rendering.url for _, rendering in pending_renderings(root, recipe)]
    if names:
        reasons = " | ".join(dict.fromkeys(str(failure) for failure in failures)) or "they were not asked for"
        more = f" and {len(names) - NAMED_IN_ERRORS} more" if len(names) > NAMED_IN_ERRORS else ""
        raise HubError(
            f"not in the pool, but in the catalog: {', '.join(names[:NAMED_IN_ERRORS])}{more} ({reasons}). "
            "What could be had is kept; run `dvc repro` again to fetch the rest, or crawl again where it was "
            "withdrawn"
        )
