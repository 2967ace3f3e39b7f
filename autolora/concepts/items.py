"""The items of a corpus: captioned images that are read only if they are wanted, and what is left out of it."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.errors import RefusedFile
from autolora.params import PoolParams

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
CAPTION_FIELDS = ("caption", "text", "prompt")
"""names of the field with the caption, in JSON and in parquet; the first that exists counts"""
MAX_CAPTION_CHARS = 2000
"""longer captions are cut: no text encoder reads more"""
MAX_CAPTION_BYTES = 1_000_000
"""of a file that contains a caption"""
MAX_SOURCE_CHARS = 1000
"""of longer paths only the end is kept"""
MAX_NAMED = 20
"""items per reason that are named; the others are only counted"""
NO_CAPTION, DAMAGED, OTHER = "no-caption", "damaged-file", "other-file"

logger = logging.getLogger(__name__)


class Skipped:
    """What is left out of a corpus: its number by reason, and the first of each reason by name."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        """reason code -> number"""
        self.named: dict[str, str] = {}
        """source -> code and reason"""

    def add(self, code: str, source: str, reason: str) -> None:
        """Count what is left out, and log it if it is one of the first. source: its place in the corpus."""
        self.counts[code] += 1
        if self.counts[code] <= MAX_NAMED:
            place, text = printable(source), printable(reason)[:MAX_SOURCE_CHARS]
            logger.warning("left out: %s: %s", place, text)
            self.named.setdefault(place, f"{code}: {text}")

    def __str__(self) -> str:
        """Return the counts as a phrase, most frequent reason first."""
        return ", ".join(f"{number} {code}" for code, number in self.counts.most_common()) or "none skipped"


@dataclass(frozen=True, slots=True)
class CorpusItem:
    """A captioned image of a corpus that has not been read yet."""

    source: str
    """its path in the corpus, members of archives and rows of tables included"""
    read: Callable[[PoolParams], tuple[bytes, str]]
    """returns the content of the image file and the caption; raises RefusedFile"""


def source_name(path: str) -> str:
    """Return the path of an item as one line of printable text; bytes that are not UTF-8 are replaced.

    It only names the item: no file is opened or written by it.
    """
    return printable(os.fsencode(path).decode(errors="replace")[-MAX_SOURCE_CHARS:])


def printable(text: str) -> str:
    """Return a text with a replacement for each character that is not printable; half of a surrogate pair is one."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def describe_error(error: Exception) -> str:
    """Return what an error says, without the path of a file: what is skipped is named in files that are committed."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def check_caption_bytes(count: int) -> None:
    """Raise RefusedFile with code no-caption if a caption, or the file that contains it, has more than allowed."""
    if count > MAX_CAPTION_BYTES:
        raise RefusedFile(NO_CAPTION, f"the caption is longer than {MAX_CAPTION_BYTES} bytes")


def clean_caption(value: Any) -> str:
    """Return a caption as one line of printable text; of a list of captions, the first.

    Raises RefusedFile with code no-caption if there is no text.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = next((text for text in value if isinstance(text, str) and text.strip()), None)
    words = " ".join(value.split()) if isinstance(value, str) else ""
    caption = "".join(character for character in words if character.isprintable())[:MAX_CAPTION_CHARS].strip()
    if not caption:
        raise RefusedFile(NO_CAPTION, "the caption is empty or not a text")
    return caption


def caption_field(fields: Any) -> str:
    """Return the caption in a JSON object. Raises RefusedFile with code no-caption if it has none."""
    if not isinstance(fields, Mapping):
        raise RefusedFile(NO_CAPTION, "it is not a JSON object")
    return clean_caption(next((fields[name] for name in CAPTION_FIELDS if fields.get(name)), None))
