"""Adapters that a prompt names: by name, author, or a trigger word that few adapters have."""

import string
from collections import defaultdict

import pyarrow as pa
import pyarrow.compute as pc

from autolora.matching.words import STOP_WORDS

MAX_SHARING = 5
"""adapters that have a trigger word which names them; `anime` or `TOK` names none"""
MAX_WORDS, MIN_CHARACTERS = 8, 3
"""of a trigger word"""
PUNCTUATION = string.punctuation + string.whitespace


def find_named(prompt: str, columns: pa.Table) -> dict[int, str]:
    """Return position -> what of an adapter the prompt contains, e.g. `trigger word enxq`: names before trigger words.

    A name of the adapter, its file or its author counts if it is the whole prompt, a trigger word also among other
    words. The case of letters does not count. columns: `hub`, `id`, `file` and `trigger_words` of N adapters.
    """
    trigger_words = _find_trigger_words(prompt, columns)
    return _find_names(prompt.strip().lower(), columns) | {
        position: f"trigger word {word}"
        for word, positions in trigger_words.items()
        for position in positions
    }


def _find_names(name: str, columns: pa.Table) -> dict[int, str]:
    """Return the adapters of this name, or, if there is none, of the author of this name."""
    ids, files = (pc.utf8_lower(columns.column(column).combine_chunks()) for column in ("id", "file"))
    file_names = _without(r"^.*/", files)
    forms = (
        pc.binary_join_element_wise(columns.column("hub").combine_chunks(), ids, ":"),
        ids,
        _without(r"^.*/", ids),
        file_names,
        _without(r"\.[a-z]+$", file_names),
    )
    named = {position for form in forms for position in _equal(form, name)}
    if named:
        return dict.fromkeys(sorted(named), "name")
    has_author = pc.match_substring(ids, "/")
    authors = pc.if_else(has_author, _without(r"/.*$", ids), pa.scalar(None, pa.string()))
    return dict.fromkeys(_equal(authors, name), f"author {name}")


def _find_trigger_words(prompt: str, columns: pa.Table) -> dict[str, list[int]]:
    """Return trigger word -> the adapters that have it, for those in the prompt that few adapters have."""
    words = [word for text in prompt.lower().split() if (word := text.strip(PUNCTUATION))]
    runs = {
        " ".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, min(first + MAX_WORDS, len(words)) + 1)
    }
    runs = {run for run in runs - STOP_WORDS if len(run) >= MIN_CHARACTERS}
    lists = columns.column("trigger_words").combine_chunks()
    texts = pc.utf8_trim(pc.utf8_lower(pc.list_flatten(lists)), PUNCTUATION)
    found = pc.is_in(texts, value_set=pa.array(sorted(runs), pa.string()))
    adapters = defaultdict[str, set[int]](set)
    pairs = zip(
        texts.filter(found).to_pylist(), pc.list_parent_indices(lists).filter(found).to_pylist(), strict=True
    )
    for word, position in pairs:
        adapters[word].add(position)
    rare = sorted(adapters, key=lambda word: (len(adapters[word]), word))
    return {word: sorted(adapters[word]) for word in rare if len(adapters[word]) <= MAX_SHARING}


def _without(pattern: str, texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern, "")


def _equal(texts: pa.Array, text: str) -> list[int]:
    positions: list[int] = pc.indices_nonzero(pc.equal(texts, text).fill_null(False)).to_pylist()
    return positions
