"""Captions on disk: data/captions/captions.jsonl."""

from pathlib import Path

from autolora.records import Caption
from autolora.storage.files import read_rows


def read_captions(root: Path) -> list[Caption]:
    """Return all stored captions, in the order of the file."""
    return [Caption(**row) for row in read_rows(captions_path(root))]


def captions_path(root: Path) -> Path:
    """Return the path of the captions file."""
    return root / "data" / "captions" / "captions.jsonl"
