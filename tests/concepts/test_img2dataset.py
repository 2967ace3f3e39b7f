"""Corpora in the layouts of img2dataset: which of its files are images, and which describe them."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import ParamsError
from tests.concepts.corpora import captions, encoded, read, write_files, write_parquet, write_tar

CAPTIONS = {"000000000": "a cat on sand", "000000002": "a red house"}
"""key -> caption of the downloads that succeeded"""
STATISTICS = {"count": 3, "successes": 2, "failed_to_download": 1, "failed_to_resize": 0, "duration": 1.5}


def metadata(key: str) -> dict[str, Any]:
    """Return what img2dataset states about a download."""
    succeeded = key in CAPTIONS
    return {
        "url": f"https://example.org/{key}.jpg",
        "caption": CAPTIONS.get(key, "an image that is gone"),
        "key": key,
        "status": "success" if succeeded else "failed_to_download",
        "error_message": None if succeeded else "HTTP Error 404: Not Found",
        "width": 40 if succeeded else None,
        "height": 48 if succeeded else None,
        "exif": "{}" if succeeded else None,
        "sha256": "0" * 64 if succeeded else None,
    }


def write_table(path: Path, **first: list[Any]) -> None:
    """Write the table of a shard, with further columns first, and its statistics."""
    rows = [metadata(f"{number:09d}") for number in range(3)]
    write_parquet(path, {**first, **{name: [row[name] for row in rows] for name in rows[0]}})
    write_files(path.parent, {f"{path.stem}_stats.json": json.dumps(STATISTICS)})


def members(folder: str = "") -> dict[str, Any]:
    """Return the files of the images of a shard."""
    files: dict[str, Any] = {}
    for number, (key, caption) in enumerate(CAPTIONS.items()):
        files[f"{folder}{key}.jpg"] = encoded(number, "JPEG")
        files[f"{folder}{key}.txt"] = caption
        files[f"{folder}{key}.json"] = json.dumps(metadata(key), indent=4)
    return files


def test_tar_files_are_the_corpus_and_the_tables_beside_them_are_not(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        write_tar(tmp_path / f"{shard}.tar", members())
        write_table(tmp_path / f"{shard}.parquet")
    items, skipped = read(tmp_path)
    shards = ("00000.tar", "00001.tar")
    assert captions(items) == {
        f"{shard}/{key}.jpg": text for shard in shards for key, text in CAPTIONS.items()
    }
    assert not skipped


def test_folders_of_files_are_the_corpus(tmp_path: Path) -> None:
    write_files(tmp_path, members("00000/"))
    write_table(tmp_path / "00000.parquet")
    items, skipped = read(tmp_path)
    assert captions(items) == {f"00000/{key}.jpg": text for key, text in CAPTIONS.items()}
    assert not skipped


def test_parquet_files_with_images_are_the_corpus(tmp_path: Path) -> None:
    write_table(tmp_path / "00000.parquet", jpg=[encoded(0, "JPEG"), None, encoded(1, "JPEG")])
    items, skipped = read(tmp_path)
    assert captions(items) == {"00000.parquet/0": "a cat on sand", "00000.parquet/2": "a red house"}
    assert skipped == {"not-an-image": 1}  # the download that failed


def test_a_table_beside_a_tar_file_is_used_if_it_has_images(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", members())
    write_parquet(tmp_path / "a.parquet", {"image": [encoded(7)], "text": ["a ship"]})
    items, _ = read(tmp_path)
    assert sorted(captions(items).values()) == ["a cat on sand", "a red house", "a ship"]


def test_a_table_without_its_images_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", members())
    write_table(tmp_path / "00001.parquet")  # 00001.tar has not been copied
    with pytest.raises(
        ParamsError, match=r"00001.parquet.* has the columns .* but needs one of bytes of images"
    ):
        read(tmp_path)


def test_other_json_files_and_damaged_tables_are_counted(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", members())
    write_files(tmp_path, {"00000.parquet": b"junk", "00001_stats.json": "{}", "notes.json": "{}"})
    items, skipped = read(tmp_path)
    assert len(items) == 2
    assert skipped == {"damaged-file": 1, "other-file": 2}
