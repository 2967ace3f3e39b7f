"""Corpora of captioned images in each form, for tests."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from autolora.concepts.corpus import sample_items
from autolora.concepts.items import Skipped
from autolora.errors import RefusedFile
from tests.support.tiny_pool import BOUNDS

Read = dict[str, tuple[bytes, str]]
"""source -> content and caption"""


def encoded(seed: int, form: str = "PNG", size: tuple[int, int] = (40, 48)) -> bytes:
    """Return the content of an image file with random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def write_files(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files by their path below a folder; return the folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def write_tar(path: Path, members: Mapping[str, bytes | str | dict[str, Any]]) -> Path:
    """Write a tar file of members in this order; a mapping is written as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: Mapping[str, list[Any]], rows_per_group: int = 2) -> Path:
    """Write a parquet file with row groups of a few rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(dict(columns)), path, row_group_size=rows_per_group)
    return path


def read(corpus: Path, count: int = 100, seed: int = 0) -> tuple[Read, Counter[str]]:
    """Return the sampled items of a corpus that can be read, and the counts of the others."""
    skipped, items = Skipped(), Read()
    for item in sample_items(corpus, count, seed, skipped):
        try:
            items[item.source] = item.read(BOUNDS)
        except RefusedFile as refused:
            skipped.add(refused.code, item.source, str(refused))
    return items, skipped.counts


def captions(items: Read) -> dict[str, str]:
    """Return source -> caption."""
    return {source: caption for source, (_, caption) in items.items()}
