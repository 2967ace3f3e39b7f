"""Thirty nights of small changes: the tables of dataset and index grow with the pool, not with the nights."""

import random
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autolora.dataset import store as dataset
from autolora.index import store as index
from autolora.storage.incremental import read_digest
from autolora.storage.tables import MAX_SMALL, ROWS_PER_WRITE, sync_table
from tests.index.versions import reindex
from tests.support.synthetic_repo import DAY, SyntheticAdapter, file_states, make_adapter

pytestmark = pytest.mark.slow

NIGHTS = 30
FILES = 2 * MAX_SMALL + 12
"""of a table: data and deletions of its small fragments; transactions, manifests and tags of two versions"""
WIDTH = 256
OVERHEAD = 50_000
"""bytes that a night writes beside the vectors"""
LARGE = 3
"""full fragments"""


def test_thirty_nights_leave_tables_of_the_size_of_the_pool(
    root: Path, adapters: list[SyntheticAdapter], tmp_path: Path
) -> None:
    rng, sizes = random.Random(0), []
    for night in range(NIGHTS):
        adapters[rng.randrange(len(adapters))] = make_adapter("neon", 10 + night, DAY + timedelta(days=night))
        changed = rng.randrange(len(adapters))
        listing = replace(adapters[changed].listing, license=f"license {night}")
        adapters[changed] = replace(adapters[changed], listing=listing)
        reindex(root, adapters)
        sizes.append({folder: size_of(folder) for folder in tables(root)})
    for folder in tables(root):
        assert max(night[folder][0] for night in sizes) <= FILES, folder
        tenth, last = (max(night[folder][1] for night in part) for part in (sizes[10:20], sizes[20:]))
        assert last <= 1.1 * tenth, folder
    before = file_states(root / "data")
    reindex(root, adapters)
    assert file_states(root / "data") == before  # nothing to do, nothing written
    rebuilt = tmp_path / "rebuilt"
    shutil.copytree(root, rebuilt)
    for folder in (dataset.folder(rebuilt), index.folder(rebuilt)):
        shutil.rmtree(folder)
    reindex(rebuilt, adapters)
    for stage in ("dataset", "index"):
        assert read_digest(root, stage) == read_digest(rebuilt, stage)


def test_thirty_nights_write_little_more_than_what_has_changed(tmp_path: Path) -> None:
    columns = {"id": pa.string(), "day": pa.int64(), "vector": pa.list_(pa.float32(), WIDTH)}
    rng, rows, folder = np.random.default_rng(0), {}, tmp_path / "t.lance"

    def write(ids: list[int], day: int) -> dict[Path, int]:
        rows.update({f"{id:05}": {"day": day, "vector": rng.random(WIDTH, np.float32)} for id in ids})
        sync_table(tmp_path, "t", columns, rows, inexact=("vector",))
        return {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}

    files, written = write(list(range(LARGE * ROWS_PER_WRITE)), 0), 0
    for night in range(1, NIGHTS + 1):
        new = range(LARGE * ROWS_PER_WRITE + 10 * night, LARGE * ROWS_PER_WRITE + 10 * night + 10)
        later = write([*new, *rng.choice(LARGE * ROWS_PER_WRITE, 5, replace=False).tolist()], night)
        written += sum(size for path, size in later.items() if path not in files)
        files = later
        assert len(files) <= FILES + 2 * LARGE
        assert sum(files.values()) < 2 * len(rows) * 4 * WIDTH
    assert written < 3 * NIGHTS * 15 * 4 * WIDTH + NIGHTS * OVERHEAD


def tables(root: Path) -> list[Path]:
    """Return the folders of all tables."""
    return sorted(path for folder in (dataset.folder, index.folder) for path in folder(root).glob("*.lance"))


def size_of(folder: Path) -> tuple[int, int]:
    """Return the number of files below a folder, and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)
