"""Folders of images: captions in files beside them and in metadata.jsonl."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.concepts.corpus import sample_items
from autolora.concepts.items import Skipped
from autolora.errors import RefusedFile
from tests.concepts.corpora import captions, encoded, read, write_files
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


def test_an_image_that_grows_after_listing_is_skipped(tmp_path: Path) -> None:
    corpus = write_files(tmp_path, {"a.png": encoded(1), "a.txt": "a cat"})
    (item,) = sample_items(corpus, 1, 0, Skipped())
    with pytest.raises(RefusedFile, match=r"at most 100 are allowed \(pool\.max_image_mb\)"):
        item.read(replace(BOUNDS, max_image_mb=1e-4))
