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


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of Unicode letters and digits. Equal words are one object.

    Normalized to NFC and lower case like the texts of the text encoder, which phrases are given to: case folding would
    write ß as ss, another token, and a decomposed é would end a word.
    """
    return [sys.intern(word) for word in WORD.findall(unicodedata.normalize("NFC", text).lower())]
