"""Sketch packs: the sketches of one batch under one recipe, in one file that is read sequentially.

data/pool/sketches/<batch>-<recipe>[-n].safetensors   values (N, S, m, p) float16, to be multiplied by scale (N, S);
                                                      present (N, S) bool; fingerprint (N, WIDTH) float32;
                                                      metadata `sha256`: JSON list of the N adapters, sorted
data/pool/open/sketches/<sha256>.safetensors          the same of one adapter, without N, until the run ends

A pack is written once. DVC tracks each pack by itself, because floating-point values differ between processors.
"""

import json
import os
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from autolora.errors import MissingArtifact, rerun
from autolora.lora.fingerprint import WIDTH, fingerprint
from autolora.pool.batches import members, open_folder
from autolora.storage.arrays import Float32Array
from autolora.storage.files import read_json, sync_and_rename, write_atomic
from autolora.storage.incremental import digest_path

if TYPE_CHECKING:  # most readers of the pool read tables only, and need no torch
    from autolora.lora.sketch import Sketch

NAME = re.compile(r"(?P<batch>\d{4}-\d\d-\d\d(-\d+)?)-(?P<recipe>[0-9a-f]{16})(-\d+)?\.safetensors")
DTYPES = {"values": "F16", "scale": "F32", "present": "BOOL", "fingerprint": "F32"}
"""tensor -> its type in the format of safetensors, in the order of a pack"""

Places = Mapping[str, tuple[Path, int | None]]
"""sha256 -> file that holds the sketch, and its row in a pack; None in a file of one sketch"""
Packs = frozenset[tuple[str, int]]
"""names of packs, and the numbers of their files (inodes), which listing a folder returns without asking for each"""


def packs_folder(root: Path) -> Path:
    """Return the folder of the packs."""
    return root / "data" / "pool" / "sketches"


def open_path(root: Path, sha256: str) -> Path:
    """Return the path of a new sketch, which is in no pack yet."""
    return open_folder(root) / "sketches" / f"{sha256}.safetensors"


def save_sketch(root: Path, sha256: str, sketch: "Sketch") -> None:
    """Write the sketch of an adapter that is new, or read under a new recipe."""
    write_atomic(open_path(root, sha256), serialize_sketch(sketch))


def serialize_sketch(sketch: "Sketch") -> bytes:
    """Return a sketch in the pool's file format: float16 relative to each slot's largest entry, and a fingerprint.

    The fingerprint is computed from the rounded values.
    """
    import torch
    from safetensors.torch import save

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


def load_sketch(root: Path, sha256: str, recipe: str | None = None) -> "Sketch":
    """Return the sketch of a stored adapter: values (S, m, p) float32, present (S,) bool.

    recipe: digest of the recipe; None: that of the last run of the stage.
    Raises MissingArtifact if the sketch is missing or damaged.
    """
    from safetensors.torch import load_file

    from autolora.lora.sketch import Sketch

    path, row = _place(root, sha256, recipe)
    try:
        if row is None:
            tensors = load_file(path)
        else:
            with safe_open(path, framework="pt") as pack:
                tensors = {name: pack.get_slice(name)[row] for name in ("values", "scale", "present")}
    except (FileNotFoundError, SafetensorError) as error:
        raise _unreadable(path, sha256, error) from error
    return Sketch(tensors["values"].float() * tensors["scale"][:, None, None], tensors["present"])


def load_fingerprints(root: Path, adapters: Sequence[str], recipe: str | None = None) -> Float32Array:
    """Return the fingerprints (N, WIDTH) of the sketches of stored adapters (sha256); reads 4 kB per adapter.

    recipe: as in `load_sketch`. Raises MissingArtifact if a sketch is missing or damaged.
    """
    prints = np.empty((len(adapters), WIDTH), dtype=np.float32)
    wanted: defaultdict[Path, list[tuple[int, int | None]]] = defaultdict(list)
    places = find_sketches(root, recipe)
    for position, sha256 in enumerate(adapters):
        path, row = places.get(sha256) or _place(root, sha256, recipe)
        wanted[path].append((position, row))
    for path, rows in wanted.items():
        try:
            with safe_open(path, framework="numpy") as file:
                stored = file.get_tensor("fingerprint")
        except (FileNotFoundError, SafetensorError) as error:
            raise _unreadable(path, adapters[rows[0][0]], error) from error
        for position, row in rows:
            prints[position] = stored if row is None else stored[row]
    return prints


def find_sketches(root: Path, recipe: str | None = None) -> Places:
    """Return where the sketch of each adapter is stored. recipe: as in `load_sketch`.

    Raises MissingArtifact if a pack is damaged.
    """
    places = _packed(root, recipe)
    return {**places, **{sha256: (open_path(root, sha256), None) for sha256 in _open_sketches(root)}}


def pack_names(root: Path) -> list[str]:
    """Return the file names of all packs on disk, sorted."""
    try:
        with os.scandir(packs_folder(root)) as entries:
            return sorted(entry.name for entry in entries if NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []


def recipe_of(name: str) -> str:
    """Return the recipe in the name of a pack. Raises ValueError if it is not such a name."""
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is not the name of a sketch pack")
    return match["recipe"]


def close_packs(root: Path, wanted: Collection[str], recipe: str) -> list[str]:
    """Move the open sketches into one new pack per batch of their weights, and return the names of the packs.

    wanted: adapters (sha256) to keep; the other open sketches, leftovers of a killed run, are removed.
    """
    packed, batch_of = _packed(root, recipe), members(root)["weights"]
    groups: defaultdict[str, list[str]] = defaultdict(list)
    new = _open_sketches(root)
    for sha256 in new:
        if sha256 in wanted and sha256 in batch_of and sha256 not in packed:
            groups[batch_of[sha256]].append(sha256)
    names = [_write_pack(root, batch, adapters, recipe) for batch, adapters in sorted(groups.items())]
    for sha256 in new:
        open_path(root, sha256).unlink()
    if (folder := open_folder(root) / "sketches").is_dir():
        folder.rmdir()
    return names


def write_pack(path: Path, files: Mapping[str, Path]) -> None:
    """Write a pack of sketches, given the file of each adapter (sha256); holds one sketch in memory at a time."""
    adapters = sorted(files)
    shapes = {name: (len(adapters), *_shape(files[adapters[0]], name)) for name in DTYPES}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(_header(adapters, shapes))
            for name in DTYPES:
                for sha256 in adapters:
                    with safe_open(files[sha256], framework="numpy") as file:
                        stream.write(file.get_tensor(name).tobytes())
            sync_and_rename(stream, temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_pack(root: Path, batch: str, adapters: Sequence[str], recipe: str) -> str:
    """Write the pack of a batch under the first free name, and return the name."""
    name, number = f"{batch}-{recipe}.safetensors", 1
    while (packs_folder(root) / name).exists():
        number += 1
        name = f"{batch}-{recipe}-{number}.safetensors"
    write_pack(packs_folder(root) / name, {sha256: open_path(root, sha256) for sha256 in adapters})
    return name


def _header(adapters: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """Return the header of a safetensors file, its length included."""
    header: dict[str, object] = {"__metadata__": {"sha256": json.dumps(adapters)}}
    offset = 0
    for name, dtype in DTYPES.items():
        size = int(np.prod(shapes[name])) * {"F16": 2, "F32": 4, "BOOL": 1}[dtype]
        header[name] = {"dtype": dtype, "shape": list(shapes[name]), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _shape(path: Path, name: str) -> tuple[int, ...]:
    with safe_open(path, framework="numpy") as file:
        return tuple(file.get_slice(name).get_shape())


def _place(root: Path, sha256: str, recipe: str | None) -> tuple[Path, int | None]:
    """Return file and row of a sketch. Raises MissingArtifact if there is none."""
    if open_path(root, sha256).exists():
        return open_path(root, sha256), None
    place = _packed(root, recipe).get(sha256)
    if place is None:
        raise _unreadable(packs_folder(root), sha256, "no pack contains it")
    return place


def _packed(root: Path, recipe: str | None) -> Places:
    """Return where each adapter's sketch is among the packs of a recipe; None: that of the stage's last run."""
    try:
        with os.scandir(packs_folder(root)) as entries:
            packs = frozenset((entry.name, entry.inode()) for entry in entries if NAME.fullmatch(entry.name))
        changed_ns = packs_folder(root).stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _read_packs(root, packs, changed_ns, recipe or current_recipe(root))


@lru_cache(maxsize=4)
def _read_packs(root: Path, packs: Packs, changed_ns: int, recipe: str | None) -> Places:
    """Read the lists of adapters of the packs. `changed_ns`, the time at which their folder changed, is only part of
    the cache's key, as are the numbers of the files: alone, the time would miss a change within a tick of the clock.
    """
    places: dict[str, tuple[Path, int | None]] = {}
    for name in sorted(name for name, _ in packs):
        if recipe is None or recipe_of(name) == recipe:
            path = packs_folder(root) / name
            places |= {sha256: (path, row) for row, sha256 in enumerate(read_adapters(path))}
    return places


def _open_sketches(root: Path) -> list[str]:
    """Return the adapters with an open sketch, sorted."""
    folder = open_folder(root) / "sketches"
    if not folder.is_dir():
        return []
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def read_adapters(path: Path) -> tuple[str, ...]:
    """Return the adapters of a pack (sha256) in the order of its rows. Raises MissingArtifact if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as pack:
            return tuple(json.loads(pack.metadata()["sha256"]))
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise MissingArtifact(
            f"{path} is damaged ({error}): `autolora verify` names the command that restores it; or delete it and "
            f"{rerun('pool')}"
        ) from error


def current_recipe(root: Path) -> str | None:
    """Return the recipe of the last run of the stage; None if it has not run, or its digest is damaged."""
    try:
        return (read_json(digest_path(root, "pool")) or {}).get("recipe")
    except MissingArtifact:
        return None


def _unreadable(path: Path, sha256: str, reason: object) -> MissingArtifact:
    return MissingArtifact(
        f"{path} cannot be read ({reason}): the sketch of {sha256} is missing or damaged; `autolora verify` names "
        f"the command that restores it; or {rerun('pool')}"
    )
