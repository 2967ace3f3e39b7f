"""Parquet files of captioned images, also damaged ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from autolora.concepts.corpus import sample_items
from autolora.concepts.items import Skipped
from autolora.concepts.parquet import _open_group
from autolora.errors import ParamsError
from tests.concepts.corpora import captions, encoded, read, write_files, write_parquet
from tests.support.tiny_pool import BOUNDS


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_parquet_has_images_as_bytes_or_as_datasets_writes_them(tmp_path: Path, form: str) -> None:
    contents = [encoded(seed) for seed in range(5)]
    images = contents if form == "bytes" else [{"bytes": content, "path": None} for content in contents]
    texts = ["a cat", "a dog", None, "  ", "a fish"]
    path = write_parquet(tmp_path / "train-0.parquet", {"id": list(range(5)), "image": images, "text": texts})
    items, skipped = read(path)
    assert captions(items) == {f"train-0.parquet/{row}": texts[row] for row in (0, 1, 4)}
    assert items["train-0.parquet/4"][0] == contents[4]
    assert skipped == {"no-caption": 2}


def test_parquet_may_have_a_list_of_captions_and_rows_without_an_image(tmp_path: Path) -> None:
    images = [{"bytes": encoded(1), "path": "a.png"}, {"bytes": None, "path": "b.png"}, None]
    texts = [["", "first", "second"], ["unused"], ["unused"]]
    items, skipped = read(write_parquet(tmp_path / "a.parquet", {"image": images, "caption": texts}))
    assert captions(items) == {"a.parquet/0": "first"}
    assert skipped == {"not-an-image": 2}


@pytest.mark.parametrize("columns", [{"url": ["x"], "text": ["a cat"]}, {"image": [b"x"], "label": ["cat"]}])
def test_parquet_without_images_or_captions_is_an_error(
    tmp_path: Path, columns: dict[str, list[object]]
) -> None:
    path = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(ParamsError, match=r"has the columns \w+, \w+, but needs one of bytes of images"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 500 + b"PAR1"])
def test_damaged_parquet_is_counted(tmp_path: Path, content: bytes) -> None:
    write_files(tmp_path, {"x.parquet": content, "a.png": encoded(1), "a.txt": "a cat"})
    assert read(tmp_path)[1] == {"damaged-file": 1}


def test_damaged_pages_of_parquet_are_counted_per_row(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "p.parquet", {"image": [encoded(1), encoded(2)], "text": ["a", "b"]})
    content = bytearray(path.read_bytes())
    content[4:40] = b"\xff" * 36
    path.write_bytes(content)
    assert read(path) == ({}, {"damaged-file": 2})


def test_rows_of_parquet_are_read_in_any_order(tmp_path: Path) -> None:
    contents = [encoded(seed) for seed in range(5)]
    path = write_parquet(tmp_path / "p.parquet", {"image": contents, "text": list("abcde")}, rows_per_group=3)
    items = sample_items(path, 5, 0, Skipped())
    for row in (2, 0, 0, 4, 1, 3):
        assert items[row].read(BOUNDS) == (contents[row], "abcde"[row])


def test_equal_rows_of_parquet_take_the_memory_of_one(tmp_path: Path) -> None:
    """A dictionary makes them small on disk, in any number."""
    content = encoded(1, size=(200, 200))
    images = pa.DictionaryArray.from_arrays(
        np.zeros(20_000, dtype=np.int32), pa.array([content], pa.binary())
    )
    table = pa.table({"image": images, "text": ["a cat"] * 20_000})
    parquet.write_table(table, tmp_path / "p.parquet", store_schema=False)
    items = sample_items(tmp_path / "p.parquet", 3, 0, Skipped())
    default = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(default)
    pa.set_memory_pool(counting)
    try:
        assert [item.read(BOUNDS) for item in items] == [(content, "a cat")] * 3
    finally:
        pa.set_memory_pool(default)
        _open_group.cache_clear()
    assert 0 < counting.max_memory() < 100 * len(content)
    assert counting.bytes_allocated() == 0, "what outlives its pool crashes a later test when it is freed"
