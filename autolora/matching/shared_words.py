"""Words that parts of a prompt share with what is said about adapters: names that a sentence encoder does not know.

They are further coordinates of the vectors in which both are compared. A shared word counts as BM25 weighs it without
the lengths of texts: the fewer adapters have it, the more.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolora.matching.parts import STOP_WORDS
from autolora.matching.words import split_words
from autolora.storage.arrays import Float32Array
from autolora.storage.arrow_values import text_array
from autolora.text_encoder.spelling import one_spelling

WEIGHT = 0.4
"""of a word that one adapter has, against a cosine of 1; chosen among 0, .2 and .4 (docs/language.md)"""
MIN_PLURAL_CHARACTERS = 4


def word_forms(text: str) -> list[str]:
    """Return the words of a text without stop words, in one spelling, and without the s of a plural."""
    words = [word for word in split_words(one_spelling(text)) if word not in STOP_WORDS]
    return [word.removesuffix("s") if len(word) >= MIN_PLURAL_CHARACTERS else word for word in words]


def share_words(parts: Sequence[str], words: pa.Array) -> tuple[Float32Array, Float32Array]:
    """Return the coordinates of parts (P, W) and of adapters (N, W), for the W words that both have.

    words (N,): lists of the words of each adapter, each once.
    """
    forms = [word_forms(part) for part in parts]
    asked = sorted({word for part in forms for word in part})
    found = pc.index_in(pc.list_flatten(words), value_set=text_array(asked))
    is_asked = pc.is_valid(found)
    columns = np.from_dlpack(found.filter(is_asked))  # to_numpy imports pandas
    rows = np.from_dlpack(pc.list_parent_indices(words).filter(is_asked))
    has = np.zeros((len(words), len(asked)), np.float32)
    has[rows, columns] = 1.0
    counts = has.sum(axis=0)
    rarity = WEIGHT * np.log((len(words) + 1) / (counts + 1)) / np.log(len(words) + 1)
    wanted = np.zeros((len(parts), len(asked)), np.float32)
    for row, part in enumerate(forms):
        for column in {asked.index(word) for word in part}:
            wanted[row, column] = rarity[column] / np.sqrt(len(part))
    known = counts > 0
    return wanted[:, known], has[:, known]
