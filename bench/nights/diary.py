"""What is recorded of each night: one line of nights.jsonl, and the scores of the index that is served after it."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from autolora.index.copies import Index
from autolora.index.served import open_index
from autolora.params import load
from autolora.releases.exact import cosines
from autolora.releases.queries import read_queries
from autolora.storage.arrays import Float32Array
from autolora.storage.files import read_rows
from autolora.text_encoder.clip import load_numpy_text_encoder

FOLDERS = ("data", "cache", ".git", ".dvc/cache", "../remote")
"""of the project, whose files and bytes are counted"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One night."""

    night: int
    what: str
    expected: str
    verdict: str
    reasons: tuple[str, ...]
    """names of the checks that refused or warned"""
    seconds: float
    """of the refresh"""
    cpu_seconds: float
    """of the refresh and its stages, which other work on the machine affects little; not of killed processes"""
    requests: int
    """to the hubs"""
    new: int
    """adapters of the index that the former night's had not"""
    adapters: int
    catalog_lines: int
    served: str
    """digest of the served index"""
    tags: tuple[str, ...]
    """made since the night before"""
    files: dict[str, int]
    """folder -> number"""
    bytes: dict[str, int]
    disk: int
    """bytes of the project and its remote, each file once, however many links it has"""


def read_entries(folder: Path) -> list[Entry]:
    """Return the nights so far."""
    path = folder / "nights.jsonl"
    rows = read_rows(path) if path.exists() else []
    return [Entry(**{**row, "tags": tuple(row["tags"]), "reasons": tuple(row["reasons"])}) for row in rows]


def append(folder: Path, entry: Entry) -> None:
    """Add a night."""
    with (folder / "nights.jsonl").open("a") as stream:
        stream.write(json.dumps(asdict(entry)) + "\n")


def usage(root: Path) -> tuple[dict[str, int], dict[str, int], int]:
    """Return files and bytes by folder, and the bytes of all of them together, each file once."""
    found = {name: [path.lstat() for path in _files(root / name)] for name in FOLDERS}
    all_files = {(stat.st_dev, stat.st_ino): stat.st_size for stats in found.values() for stat in stats}
    return (
        {name: len(stats) for name, stats in found.items()},
        {name: sum(stat.st_size for stat in stats) for name, stats in found.items()},
        sum(all_files.values()),
    )


def scores(root: Path, index: Index) -> dict[str, Float32Array]:
    """Return sha256 -> the cosines (Q,) of the pinned queries."""
    params = load(root / "params.yaml")
    queries = read_queries(root)
    features = load_numpy_text_encoder(root, params.models, index.tokenizers).encode(queries)
    names = index.rows.columns.column("sha256").to_pylist()
    return dict(zip(names, cosines(index.weights_vectors, index.text_map.apply(features)).T, strict=True))


def save_scores(folder: Path, root: Path) -> Index:
    """Keep the scores of the served index under its digest, and return it."""
    index = open_index(root)
    (folder / "scores").mkdir(exist_ok=True)
    np.savez(folder / "scores" / f"{index.digest}.npz", allow_pickle=False, **scores(root, index))
    return index


def read_scores(folder: Path, digest: str) -> dict[str, Float32Array]:
    """Return sha256 -> cosines (Q,) of an index that was served after some night."""
    with np.load(folder / "scores" / f"{digest}.npz") as file:
        return {name: file[name] for name in file.files if name != "allow_pickle"}


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)
