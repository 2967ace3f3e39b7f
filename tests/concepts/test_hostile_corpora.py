"""Hostile and damaged corpora: each ends in a count or in a clear error, in bounded memory."""

import io
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from autolora.concepts.items import MAX_SOURCE_CHARS
from autolora.errors import ParamsError
from tests.concepts.corpora import captions, encoded, read, write_files, write_parquet, write_tar


def long_header(kind: bytes, size: int) -> bytes:
    """Return the header of a tar member that states the name, or further fields, of the next one."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


LONG_HEADERS = {"GNU": tarfile.GNUTYPE_LONGNAME, "pax": tarfile.XHDTYPE, "global pax": tarfile.XGLTYPE}


@pytest.mark.parametrize("kind", LONG_HEADERS.values(), ids=LONG_HEADERS)
def test_a_long_header_of_a_tar_file_is_not_read(
    tmp_path: Path, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tar(tmp_path / "s.tar", {"0.png": encoded(0), "0.txt": "a cat"})
    end = path.stat().st_size
    with path.open("r+b") as stream:
        with tarfile.open(path) as archive:
            *_, last = archive
        position = last.offset_data + 512
        stream.seek(position)
        stream.write(long_header(kind, 4_000_000_000))
        stream.truncate(end + 4_000_000_000)  # a sparse file
    tracemalloc.start()
    items, skipped = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert captions(items) == {"s.tar/0.png": "a cat"}
    assert skipped == {"damaged-file": 1}
    assert peak < 10_000_000
    assert (
        f"left out: s.tar, member at byte {position}: its header is longer than 1000000 bytes" in caplog.text
    )


def test_global_headers_do_not_add_up(tmp_path: Path) -> None:
    """Each has other fields, and tarfile copies all of them for each member."""
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(20):
            fields = {f"{number}-{field}": "x" * 10_000 for field in range(50)}
            archive.fileobj.write(tarfile.TarInfo.create_pax_global_header(fields))  # type: ignore[union-attr]
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat"})
    tracemalloc.start()
    read(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_member_that_exists_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (
            ("0.png", encoded(0)),
            ("0.txt", b"a cat"),
            ("0.txt", b"a dog"),
            ("0.png", encoded(1)),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    assert read(path) == ({"s.tar/0.png": (encoded(0), "a cat")}, {"duplicate-member": 2})


@pytest.mark.parametrize("name", ["../../0", "/etc/0", "a/../../0", "C:\\0", "0\n1", "\x1b[31m0", "n" * 3000])
def test_names_of_members_are_only_names(tmp_path: Path, name: str) -> None:
    path = write_tar(tmp_path / "corpus" / "s.tar", {f"{name}.png": encoded(0), f"{name}.txt": "a cat"})
    before = sorted(tmp_path.rglob("*"))
    items, _ = read(path)
    (source,) = items
    assert items[source] == (encoded(0), "a cat")
    assert source.isprintable() and len(source) <= MAX_SOURCE_CHARS
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written under such a name"


@pytest.mark.parametrize(
    ("caption", "skipped"),
    [(b"\xff\xfe cat", "no-caption"), (b"cat " * 300_000, "no-caption"), (b"\xef\xbb\xbf", "no-caption")],
    ids=["not UTF-8", "1.2 MB", "only a byte order mark"],
)
def test_captions_that_are_not_a_text_are_skipped_in_each_form(
    tmp_path: Path, caption: bytes, skipped: str
) -> None:
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": caption})
    write_tar(tmp_path / "s.tar", {"0.png": encoded(2), "0.txt": caption})
    texts = pa.array([caption]).view(pa.string())
    parquet.write_table(pa.table({"image": [encoded(3)], "text": texts}), tmp_path / "p.parquet")
    assert read(tmp_path) == ({}, {skipped: 3})


@pytest.mark.parametrize(
    "columns",
    [
        {"image": [b"x"], "text": [1]},
        {"image": [b"x"], "text": [b"a cat"]},
        {"image": [b"x"], "text": [{"en": "a cat"}]},
        {"image": [b"x"], "text": [[1, 2]]},
        {"image": ["x"], "text": ["a cat"]},
        {"image": [[b"x"]], "text": ["a cat"]},
        {"image": [{"path": "x"}], "text": ["a cat"]},
        {"image": [{"bytes": {"bytes": b"x"}}], "text": ["a cat"]},
    ],
    ids=lambda columns: repr(columns),
)
def test_parquet_columns_of_other_types_are_an_error(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    path = write_parquet(tmp_path / "p.parquet", columns)
    with pytest.raises(ParamsError, match="has the columns image, text, but needs one of bytes of images"):
        read(path)


def test_parquet_columns_of_the_same_name_are_an_error(tmp_path: Path) -> None:
    arrays = [pa.array([encoded(1)]), pa.array(["a cat"]), pa.array(["a dog"])]
    parquet.write_table(pa.Table.from_arrays(arrays, ["image", "text", "text"]), tmp_path / "p.parquet")
    with pytest.raises(ParamsError, match="has several columns named text: expected one of each name"):
        read(tmp_path)


def test_a_column_of_captions_is_one_of_texts(tmp_path: Path) -> None:
    """A dictionary of texts, as of pandas' categories, is one; numbers are not."""
    texts = pa.array(["a cat", "a cat", "a dog"]).dictionary_encode()
    table = pa.table({"image": [encoded(seed) for seed in range(3)], "caption": [1, 2, 3], "text": texts})
    parquet.write_table(table, tmp_path / "p.parquet")
    assert list(captions(read(tmp_path)[0]).values()) == ["a cat", "a cat", "a dog"]


def test_a_parquet_file_that_states_impossibly_many_rows_is_damaged(tmp_path: Path) -> None:
    table = pa.table({"image": pa.nulls(2_000_000, pa.binary()), "text": pa.nulls(2_000_000, pa.string())})
    parquet.write_table(table, tmp_path / "p.parquet")
    assert (tmp_path / "p.parquet").stat().st_size < 2_000_000
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat"})
    items, skipped = read(tmp_path)
    assert (list(items), skipped) == (["a.png"], {"damaged-file": 1})


def test_images_that_parquet_compresses_much_are_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading one row would decompress its whole page."""
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat"})
    for column in ("image", "text"):
        values = {"image": encoded(2), "text": b"a cat"} | {column: b"\0" * 150_000_000}
        table = pa.table({"image": [values["image"]], "text": pa.array([values["text"]]).view(pa.string())})
        parquet.write_table(table, tmp_path / f"{column}.parquet", compression="zstd", use_dictionary=False)
    del table, values
    items, skipped = read(tmp_path)
    assert (list(items), skipped) == (["a.png"], {"damaged-file": 2})
    assert "left out: image.parquet, row group 0: images cannot be compressed so much" in caplog.text


@pytest.mark.long(full=4000, sample=40)
@pytest.mark.parametrize("form", ["tar", "parquet"])
def test_random_damage_ends_in_a_count_or_a_clear_error(tmp_path: Path, form: str, seed: int) -> None:
    contents, texts = [encoded(image, size=(4, 4)) for image in range(6)], ["a cat", "a dog"] * 3
    path = tmp_path / f"s.{form}"
    if form == "tar":
        images = {f"{number}.png": content for number, content in enumerate(contents)}
        write_tar(path, images | {f"{number}.txt": text for number, text in enumerate(texts)})
    else:
        write_parquet(path, {"image": contents, "text": texts})
    intact, random = path.read_bytes(), np.random.default_rng(seed)
    content = bytearray(intact[: random.integers(1, len(intact) + 1)] if random.random() < 0.3 else intact)
    for position in random.integers(0, len(content), random.integers(1, 8)):
        content[position] = random.integers(256)
    path.write_bytes(content)
    try:
        items, _ = read(path)
        assert len(items) <= 6
    except ParamsError as error:
        assert "concepts.corpus" in str(error)
