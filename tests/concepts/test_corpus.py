"""Corpora: the forms in which captioned images come, the sample of them, and what is skipped."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from autolora.concepts.corpus import sample_items
from autolora.concepts.items import (
    MAX_CAPTION_BYTES,
    MAX_CAPTION_CHARS,
    MAX_NAMED,
    Skipped,
    clean_caption,
)
from autolora.concepts.parquet import _open_group
from autolora.errors import ParamsError, RefusedFile
from tests.concepts.corpora import captions, encoded, read, write_files, write_parquet, write_tar
from tests.support.tiny_pool import BOUNDS


def test_a_folder_has_captions_in_files_beside_the_images(tmp_path: Path) -> None:
    corpus = write_files(
        tmp_path,
        {
            "a.png": encoded(1),
            "a.txt": "a cat\n in the  snow",
            "deep/b.JPG": encoded(2, "JPEG"),
            "deep/b.txt": "a dog",
            "c.webp": encoded(3, "WEBP"),
            "notes.txt": "no image",
        },
    )
    items, skipped = read(corpus)
    assert captions(items) == {"a.png": "a cat in the snow", "deep/b.JPG": "a dog"}
    assert items["a.png"][0] == encoded(1)
    assert skipped == {"no-caption": 1, "other-file": 1}


def test_suffixes_may_be_in_upper_case(tmp_path: Path) -> None:
    corpus = write_files(
        tmp_path,
        {
            "a.PNG": encoded(1),
            "a.TXT": "a cat",
            "b.JPEG": encoded(2, "JPEG"),
            "b.Txt": "a dog",
            "c.WebP": encoded(3, "WEBP"),
            "c.TXT": "unused",
            "c.txt": "a ship",
        },
    )
    write_tar(
        tmp_path / "S.TAR",
        {"0.PNG": encoded(4), "0.TXT": "a fish", "1.JPG": encoded(5), "1.JSON": {"text": "a bird"}},
    )
    items, skipped = read(corpus)
    assert sorted(captions(items).values()) == ["a bird", "a cat", "a dog", "a fish", "a ship"]
    assert not skipped


def test_a_folder_has_captions_in_metadata(tmp_path: Path) -> None:
    lines = [
        '{"file_name": "a.png", "text": "a cat"}',
        '{"file_name": "deep/b.png", "caption": "a dog", "text": "unused"}',
        '{"file_name": "../../etc/passwd", "text": "outside"}',
        '{"file_name": "a.png"',
        '{"text": "of no file"}',
        "[]",
        '{"file_name": "c.png", "text": ""}',
    ]
    corpus = write_files(
        tmp_path / "corpus",
        {
            "x/a.png": encoded(1),
            "x/deep/b.png": encoded(2),
            "x/c.png": encoded(3),
            "x/metadata.jsonl": "\n".join(lines),
        },
    )
    items, skipped = read(corpus)
    assert captions(items) == {"x/a.png": "a cat", "x/deep/b.png": "a dog"}
    assert skipped == {"invalid-line": 3, "no-caption": 1}


def test_webdataset_members_of_one_stem_are_one_image(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "shard-0.tar",
        {
            "0001.jpg": encoded(1, "JPEG"),
            "0001.txt": "a cat",
            "0001.json": {"caption": "unused"},
            "sub/0002.json": {"caption": "a dog", "url": "x"},
            "sub/0002.png": encoded(2),
            "0003.png": encoded(3),
            "0004.json": {"caption": "no image"},
            "0005.png": encoded(5),
            "0005.json": {"caption": None, "status": "failed"},
        },
    )
    items, skipped = read(path)
    assert captions(items) == {"shard-0.tar/0001.jpg": "a cat", "shard-0.tar/sub/0002.png": "a dog"}
    assert items["shard-0.tar/sub/0002.png"][0] == encoded(2)
    assert skipped == {"no-caption": 2, "other-file": 1}


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


def test_forms_may_be_mixed_and_patterns_choose_files(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": "one", "README.md": "x"})
    write_tar(tmp_path / "s-0.tar", {"0.png": encoded(2), "0.txt": "two"})
    write_tar(tmp_path / "s-1.tar", {"0.png": encoded(3), "0.txt": "three"})
    write_parquet(tmp_path / "p.parquet", {"image": [encoded(4)], "prompt": ["four"]})
    assert sorted(captions(read(tmp_path)[0]).values()) == ["four", "one", "three", "two"]
    assert captions(read(tmp_path / "s-*.tar")[0]) == {"s-0.tar/0.png": "two", "s-1.tar/0.png": "three"}


def test_a_sample_is_stable_and_depends_on_the_seed(tmp_path: Path) -> None:
    def write(folder: Path, count: int) -> Path:
        members = {f"{number}.{suffix}": text for number in range(count) for suffix, text in
                   (("png", encoded(number)), ("txt", f"caption {number}"))}  # fmt: skip
        return write_tar(folder / "s.tar", members)

    first = read(write(tmp_path / "a", 40), 10)[0]
    assert len(first) == 10
    assert list(first) == sorted(first, key=lambda source: int(source.split("/")[1][:-4])), (
        "in the order of the file"
    )
    assert read(write(tmp_path / "moved", 40), 10)[0] == first
    assert read(tmp_path / "a/s.tar", 10, seed=1)[0].keys() != first.keys()
    assert len(read(write(tmp_path / "larger", 41), 10)[0].keys() ^ first.keys()) <= 2


def test_large_images_and_captions_are_skipped_without_reading_them(tmp_path: Path) -> None:
    big, text = b"x" * 1_000_001, "x" * (MAX_CAPTION_BYTES + 1)
    write_files(tmp_path, {"a.png": big, "a.txt": "big"})
    write_tar(tmp_path / "s.tar", {"0.png": big, "0.txt": "big", "1.png": encoded(1), "1.json": text})
    write_parquet(tmp_path / "p.parquet", {"image": [big], "text": ["big"]})
    assert read(tmp_path) == ({}, {"image-too-large": 3, "no-caption": 1})


def test_a_damaged_shard_gives_what_precedes_the_damage(tmp_path: Path) -> None:
    samples = {f"{number}.{suffix}": text for number in range(4) for suffix, text in
               (("png", encoded(number)), ("txt", "a cat"))}  # fmt: skip
    path = write_tar(tmp_path / "s.tar", samples)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + b"\xff" * 2000)
    items, skipped = read(path)
    assert 0 < len(items) < 4
    assert skipped["damaged-file"] == 1


def test_a_tar_file_that_ends_within_an_image_is_skipped(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"0.txt": "a cat", "0.png": encoded(0)})
    path.write_bytes(path.read_bytes()[: 512 * 3 + 100])
    items, skipped = read(path)
    assert not items
    assert skipped["damaged-file"] >= 1


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


@pytest.mark.parametrize("size", [-5, -512, -1024, 2**80])
def test_a_member_of_an_impossible_size_ends_the_shard(tmp_path: Path, size: int) -> None:
    members = {"0.png": encoded(0), "0.txt": "a cat", "1.txt": "damaged", "1.png": b""}
    path = write_tar(tmp_path / "s.tar", members)
    with tarfile.open(path) as archive:
        position = archive.getmembers()[-1].offset
    content = bytearray(path.read_bytes())
    header = content[position : position + 512]
    header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    content[position : position + 512] = header
    path.write_bytes(content)
    items, skipped = read(path)
    assert captions(items) == {"s.tar/0.png": "a cat"}
    assert skipped["damaged-file"] == 1


def test_a_tar_file_with_a_long_chain_of_headers_is_damaged(tmp_path: Path) -> None:
    info = tarfile.TarInfo("n" * 200)
    extended = info.tobuf(tarfile.GNU_FORMAT)[:-512]
    write_files(tmp_path, {"s.tar": extended * 5000, "a.png": encoded(1), "a.txt": "a cat"})
    assert read(tmp_path)[1] == {"damaged-file": 1}


def test_names_that_are_not_utf8_are_written_with_replacements(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    write_files(tmp_path, {f"{name}.png": encoded(1), f"{name}.txt": "a cat"})
    shard = write_tar(tmp_path / "0.tar", {f"{name}.png": encoded(2), f"{name}.txt": "a dog"})
    shard.rename(tmp_path / f"{name}.tar")
    assert captions(read(tmp_path)[0]) == {"\ufffd.png": "a cat", "\ufffd.tar/\ufffd.png": "a dog"}


def test_files_that_are_gone_when_they_are_read_are_skipped(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat", "b.png": encoded(2)})
    write_files(tmp_path, {"metadata.jsonl": '{"file_name": "b.png", "text": "a dog"}'})
    write_tar(tmp_path / "s.tar", {"0.png": encoded(3), "0.txt": "a ship"})
    write_parquet(tmp_path / "p.parquet", {"image": [encoded(4)], "text": ["a fish"]})
    items = sample_items(tmp_path, 4, 0, Skipped())
    for path in tmp_path.iterdir():
        if path.suffix != ".txt":
            path.unlink()
    for item in items:
        with pytest.raises(RefusedFile) as refused:
            item.read(BOUNDS)
        assert refused.value.code == "damaged-file"


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


def test_links_and_devices_in_a_tar_file_are_no_images(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "s.tar", {"0.png": encoded(0), "0.txt": "a cat", "1.txt": "a link"})
    with tarfile.open(path, "a") as archive:
        for name, kind in (
            ("1.png", tarfile.SYMTYPE),
            ("1.jpg", tarfile.LNKTYPE),
            ("1.webp", tarfile.CHRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info, io.BytesIO())
    assert captions(read(path)[0]) == {"s.tar/0.png": "a cat"}


def test_a_pipe_is_not_opened_and_a_link_to_an_image_is_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "elsewhere", {"a.png": encoded(1)})
    corpus = write_files(tmp_path / "corpus", {"pipe.txt": "a pipe", "link.txt": "a link"})
    for name in ("pipe.png", "link.json", "metadata.jsonl", "shard.tar", "shard.parquet"):
        os.mkfifo(corpus / name)
    (corpus / "broken.png").symlink_to("nowhere")
    (corpus / "link.png").symlink_to("../elsewhere/a.png")
    items, skipped = read(corpus)
    assert captions(items) == {"link.png": "a link"}
    assert skipped == {"other-file": 1}, "the text of the pipe"


def test_what_is_skipped_is_named_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_files(
        tmp_path,
        {
            "a.png": encoded(1),
            "a.txt": "a cat",
            "b.png": encoded(2),
            "notes.txt": "no image",
            "c.gif": b"GIF89a",
            "deep/old.tar.gz": b"",
            "deep/metadata.jsonl": '{"file_name": "x.png", "text": "a dog"}\n[]',
            "junk.tar": b"junk" * 300,
            "junk.parquet": b"junk",
        },
    )
    write_tar(
        tmp_path / "s.tar", {"0.png": encoded(3), "1.gif": "x", "1.txt": "a ship", "2.txt": "", "2.png": b""}
    )
    os.mkdir(tmp_path / "empty")
    skipped = Skipped()
    sample_items(tmp_path, 9, 0, skipped)
    assert skipped.counts == {"no-caption": 2, "other-file": 4, "invalid-line": 1, "damaged-file": 2}
    reasons = {source: text.split(":")[0] for source, text in skipped.named.items()}
    assert reasons == {
        "b.png": "no-caption",
        "s.tar/0.png": "no-caption",
        "notes.txt": "other-file",
        "c.gif": "other-file",
        "deep/old.tar.gz": "other-file",
        "s.tar/1": "other-file",
        "deep/metadata.jsonl, line 2": "invalid-line",
        "junk.tar, member at byte 0": "damaged-file",
        "junk.parquet": "damaged-file",
    }
    assert skipped.named["notes.txt"] == "other-file: no image has its name"
    assert str(tmp_path) not in str(skipped.named), "metrics/concepts.json is committed"
    assert all(f"left out: {source}: " in caplog.text for source in reasons)


def test_only_the_first_of_each_reason_are_named(caplog: pytest.LogCaptureFixture) -> None:
    skipped = Skipped()
    for number in range(3 * MAX_NAMED):
        skipped.add("no-caption", f"{number}.png", "no text")
    skipped.add("damaged-file", "s.tar\ud800", "its name is \x1b[31m\udcff" + "x" * 5000)
    assert skipped.counts == {"no-caption": 3 * MAX_NAMED, "damaged-file": 1}
    assert list(skipped.named) == [*(f"{number}.png" for number in range(MAX_NAMED)), "s.tar\ufffd"]
    assert len(caplog.records) == MAX_NAMED + 1
    assert all(text.isprintable() and len(text) < 2000 for text in skipped.named.values())


def test_an_empty_or_missing_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="does not exist: give a folder, a file or a pattern"):
        read(tmp_path / "none")
    write_files(tmp_path, {"a.png": encoded(1)})
    with pytest.raises(ParamsError, match=r"no captioned image \(1 no-caption\): expected images with \.txt"):
        read(tmp_path)


@pytest.mark.parametrize("value", [None, 3, "", " \n", "\x00\x1b", [], [None, " "], {"en": "a cat"}])
def test_captions_without_text_are_refused(value: object) -> None:
    with pytest.raises(RefusedFile, match="the caption is empty or not a text"):
        clean_caption(value)


def test_captions_are_one_printable_line_of_bounded_length() -> None:
    assert clean_caption("a\x00 cat\r\n\tin\ud800 snow ") == "a cat in snow"
    assert len(clean_caption("word " * 10_000)) <= MAX_CAPTION_CHARS


def test_an_image_that_grows_after_listing_is_skipped(tmp_path: Path) -> None:
    corpus = write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat"})
    (item,) = sample_items(corpus, 1, 0, Skipped())
    with pytest.raises(RefusedFile, match=r"at most 100 are allowed \(pool\.max_image_mb\)"):
        item.read(replace(BOUNDS, max_image_mb=1e-4))
