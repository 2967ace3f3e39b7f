"""What is said about the adapters of an index: by names, trigger words, headers, sidecars and hubs."""

import re

from autolora.index.store import DESCRIPTION
from autolora.matching.shared_words import word_forms
from autolora.matching.words import name_words
from autolora.storage.files import Row

SAID = ("id", "file", "trigger_words", DESCRIPTION)
"""columns with texts about an adapter"""
SUFFIX = re.compile(r"\.safetensors(?= |$)", re.IGNORECASE)
MAX_CHARS = 300
"""of a text whose beginning is compared with parts of prompts: the rest dilutes it, but counts for a whole prompt"""
MIN_LISTED = 3
"""phrases between commas, from which a text is a list of them"""


def texts_of(row: Row) -> list[str]:
    """Return the texts about the adapter of a row, each once: words of its name, trigger words, and description.

    They are compared with parts of prompts: lists are split, and long texts cut.
    """
    texts = [part for text in _all_of(row) for part in _split_list(_begin(text))]
    return list(dict.fromkeys(filter(None, texts)))


def whole_text_of(row: Row) -> str:
    """Return all texts about the adapter of a row as one."""
    return ". ".join(dict.fromkeys(filter(None, _all_of(row))))


def _all_of(row: Row) -> tuple[str, ...]:
    name = " ".join(dict.fromkeys(name_words(SUFFIX.sub("", f"{row['id']} {row['file']}"))))
    return name, *row["trigger_words"], *row[DESCRIPTION]


def _begin(text: str) -> str:
    """Return the beginning of a text, up to the end of a word."""
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS].rpartition(" ")[0]


def words_of(row: Row) -> list[str]:
    """Return the words in the texts about the adapter of a row, as `word_forms`, sorted."""
    return sorted({word for text in texts_of(row) for word in word_forms(text)})


def _split_list(text: str) -> list[str]:
    phrases = [phrase.strip() for phrase in text.split(",")]
    return phrases if len(phrases) >= MIN_LISTED else [text]
