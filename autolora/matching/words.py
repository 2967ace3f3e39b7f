"""The words of a text, for phrases, tags, BM25, and the reasons of a search."""

import re
import sys
import unicodedata

WORD = re.compile(r"[^\W_]+")
STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "into", "is", "it", "its", "of", "on", "or", "that",
    "the", "their", "this", "to", "with",
})  # fmt: skip
"""words that say nothing about an image"""
UNINFORMATIVE = frozenset({
    "adapter", "dev", "epoch", "file", "final", "flux", "lora", "loras", "model", "my", "new", "old", "rank",
    "step", "steps", "style", "test", "training", "version",
})  # fmt: skip
"""words of file names that do not describe what a LoRA does"""
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
MIN_NAME_CHARS = 3


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of Unicode letters and digits. Equal words are one object.

    Normalized to NFC and lower case like the texts of the text encoder, which phrases are given to: case folding would
    write ß as ss, another token, and a decomposed é would end a word.
    """
    return [sys.intern(word) for word in WORD.findall(unicodedata.normalize("NFC", text).lower())]


def name_words(name: str) -> list[str]:
    """Return the words of a name, e.g. of a file, that can describe what a LoRA does, in lower case."""
    return [word for word in split_words(CAMEL_CASE.sub(" ", name)) if is_informative(word)]


def is_informative(word: str) -> bool:
    """Return whether a word of a name can describe what a LoRA does."""
    is_long = len(word) >= MIN_NAME_CHARS or not word.isascii()
    return word.isalpha() and is_long and word not in UNINFORMATIVE | STOP_WORDS
