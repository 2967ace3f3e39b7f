"""Corpora: the forms in which captioned images come, the sample of them, and what is skipped."""

import os
from pathlib import Path

import pytest

from autolora.concepts.corpus import sample_items
from autolora.concepts.items import MAX_CAPTION_BYTES, Skipped
from autolora.errors import ParamsError, RefusedFile
from tests.concepts.corpora import captions, encoded, read, write_files, write_parquet, write_tar
from tests.support.tiny_pool import BOUNDS


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


def test_an_empty_or_missing_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="does not exist: give a folder, a file or a pattern"):
        read(tmp_path / "none")
    write_files(tmp_path, {"a.png": encoded(1)})
    with pytest.raises(ParamsError, match=r"no captioned image \(1 no-caption\): expected images with \.txt"):
        read(tmp_path)
