"""Captions on disk: data/captions/captions.jsonl."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.records import Caption
from autolora.storage.files import read_rows

if TYPE_CHECKING:  # searching needs captions, and no VLM
    pass


logger = logging.getLogger(__name__)


def captions(root: Path) -> list[Caption]:
    """Return all captions there are, in the order of the file."""
    return [Caption(**row) for row in read_rows(captions_path(root))]


def captions_path(root: Path) -> Path:
    """Return where captions are kept."""
    return root / "data" / "captions" / "captions.jsonl"
