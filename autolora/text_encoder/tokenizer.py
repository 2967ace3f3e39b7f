"""The CLIP tokenizer: the token ids of transformers' CLIPTokenizer, without importing transformers.

transformers reads every layout of a tokenizer's folder, but takes longer to import than a search. So it converts a
folder once, to the format of `tokenizers`, which searches read.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Encoding, Tokenizer

from autolora.errors import MissingArtifact
from autolora.extras import libraries_for
from autolora.storage.arrays import Int64Array

FILE = "tokenizer.json"
LAYOUTS = ((FILE,), ("vocab.json", "merges.txt"))
"""files of a folder, without which transformers returns a tokenizer that knows no word"""
END_OF_WORD = "</w>"
MAX_REPORTED = 1000
"""texts about which it is remembered that their end was cut off"""

logger = logging.getLogger(__name__)


class ClipTokenizer:
    """From texts to token ids: begin, words, end and padding, the same number for each text."""

    def __init__(self, path: Path) -> None:
        """Read what `convert_tokenizer` has returned from a file. Raises MissingArtifact if it is damaged."""
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the only class that `tokenizers` raises for damaged files
            raise MissingArtifact(
                f"cannot load the CLIP tokenizer {path}: {error}; delete it in cache/, or write it again "
                "with `dvc repro index` or `autolora index`"
            ) from error

    @property
    def size(self) -> int:
        """The number of different token ids."""
        return int(self._tokenizer.get_vocab_size())

    def to_json(self) -> str:
        """Return the content of the file."""
        return str(self._tokenizer.to_str())

    def words(self) -> list[str]:
        """Return the words of the vocabulary, in which frequent ones come first."""
        ids = self._tokenizer.get_vocab(with_added_tokens=False)
        tokens = sorted(ids, key=lambda token: ids[token])
        return [token.removesuffix(END_OF_WORD) for token in tokens if token.endswith(END_OF_WORD)]

    def encode(self, texts: Sequence[str]) -> Int64Array:
        """Return the token ids (N, tokens); log a warning, once per text, that names what is cut off its end."""
        encodings = self._tokenizer.encode_batch(list(texts))
        for text, encoding in zip(texts, encodings, strict=True):
            if encoding.overflowing:
                _report_cut(text, _first_offset(encoding.overflowing[0]), len(encoding.ids))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


def convert_tokenizer(folder: Path, max_tokens: int) -> str:
    """Return the content of tokenizer.json for the CLIP tokenizer in a folder of any layout that transformers reads.

    Texts are padded and cut to `max_tokens`, or to the tokenizer's own limit if that is lower. Raises MissingArtifact
    if the folder is missing or damaged, MissingLibrary without transformers.
    """
    with libraries_for(f"the tokenizer in {folder}, which no stage has converted yet,"):
        from transformers import CLIPTokenizer
    try:
        if not any(all((folder / name).is_file() for name in layout) for layout in LAYOUTS):
            raise FileNotFoundError("it has neither tokenizer.json nor vocab.json with merges.txt")
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        length = min(max_tokens, int(tokenizer.model_max_length))
        tokenizer("", padding="max_length", max_length=length, truncation=True)  # sets both in the backend
        return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # the only class that `tokenizers` raises for damaged files
        raise MissingArtifact(
            f"cannot load the CLIP tokenizer in {folder}: {error}; build or download it again"
        ) from error


def _first_offset(encoding: Encoding) -> int:
    """Return where in its text the first token of an encoding begins; special tokens do not count."""
    return int(next(start for start, end in encoding.offsets if end > start))


@lru_cache(MAX_REPORTED)
def _report_cut(text: str, start: int, limit: int) -> None:
    """Log that a text is cut; the same text is compared several times in one search."""
    word = text.rfind(" ", 0, start + 1) + 1
    logger.warning(
        "the text is longer than the %d tokens that CLIP reads; ignored is its end: '%s'", limit, text[word:]
    )
