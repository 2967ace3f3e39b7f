"""Tar files of captioned images, also damaged ones."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.concepts.corpora import captions, encoded, read, write_files, write_tar


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
