"""The CLIP tokenizer: the token ids of transformers' CLIPTokenizer, without importing transformers.

As in transformers 5, a folder determines vocabulary, merges, special tokens and limits; the other steps are fixed.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import RobertaProcessing

from autolora.errors import MissingArtifact
from autolora.storage.arrays import Int64Array
from autolora.storage.files import read_json

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
SPECIAL_TOKENS = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
"""role -> its token, if the folder names none"""
TOKEN_FIELDS = ("content", "lstrip", "normalized", "rstrip", "single_word")
END_OF_WORD = "</w>"
SPACES = Regex(r"\s+")
WORDS = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")

MAX_REPORTED = 1000
"""texts about which it is remembered that their end was cut off"""

logger = logging.getLogger(__name__)


class ClipTokenizer:
    """From texts to token ids: begin, words, end and padding, the same number for each text."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """Read the tokenizer in `folder`; texts are truncated to `max_tokens`, or to its own limit if that is lower.

        Raises MissingArtifact if it is missing, damaged or of another kind.
        """
        try:
            self._tokenizer = _load(folder, max_tokens)
        except Exception as error:  # the only class that `tokenizers` raises for damaged files
            raise MissingArtifact(
                f"cannot load the CLIP tokenizer in {folder}: {error}; build or download it again"
            ) from error

    @property
    def size(self) -> int:
        """The number of different token ids."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> Int64Array:
        """Return the token ids (N, tokens); log a warning, once per text, that names what is cut off its end."""
        encodings = self._tokenizer.encode_batch(list(texts))
        for text, encoding in zip(texts, encodings, strict=True):
            if encoding.overflowing:
                _report_cut(text, _first_offset(encoding.overflowing[0]), len(encoding.ids))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


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


def _load(folder: Path, max_tokens: int) -> Tokenizer:
    config = _read_config(folder)
    model, listed = _read_vocabulary(folder)
    special = {role: _added_token(config.get(role) or token) for role, token in SPECIAL_TOKENS.items()}
    model.unk_token, model.end_of_word_suffix = special["unk_token"].content, END_OF_WORD
    tokenizer = Tokenizer(model)
    added = config.get("added_tokens_decoder", listed)
    in_order = (_added_token(added[key]) for key in sorted(added, key=int))
    tokenizer.add_tokens(_distinct((*in_order, *special.values())))
    begin, end, pad = (special[role].content for role in ("bos_token", "eos_token", "pad_token"))
    _set_steps(tokenizer, begin, end)
    length = min(max_tokens, int(config.get("model_max_length") or max_tokens))
    tokenizer.enable_truncation(length, direction=config.get("truncation_side", "right"))
    tokenizer.enable_padding(
        direction=config.get("padding_side", "right"),
        pad_id=tokenizer.token_to_id(pad),
        pad_token=pad,
        length=length,
    )
    return tokenizer


def _read_config(folder: Path) -> dict[str, Any]:
    """Return special tokens and limits; earlier versions of transformers store the tokens in a file of their own."""
    config = read_json(folder / "tokenizer_config.json") or {}
    if "added_tokens_decoder" in config:
        return config
    return config | (read_json(folder / "special_tokens_map.json") or {})


def _read_vocabulary(folder: Path) -> tuple[BPE, dict[int, dict[str, Any]]]:
    """Return vocabulary and merges, and id -> token of those that were added to them."""
    content = read_json(folder / "tokenizer.json")
    if content is None:
        ids = read_json(folder / "added_tokens.json") or {}
        added = {ids[token]: {"content": token, "normalized": True} for token in ids}
        return BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")), added
    model = content["model"]
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    return BPE(vocab=model["vocab"], merges=merges), {token["id"]: token for token in content["added_tokens"]}


def _added_token(value: str | dict[str, Any]) -> AddedToken:
    """Return a token that is recognized in a text before the text is split into words."""
    fields = {"content": value} if isinstance(value, str) else value
    return AddedToken(**{name: fields[name] for name in TOKEN_FIELDS if name in fields}, special=True)


def _distinct(tokens: Iterable[AddedToken]) -> list[AddedToken]:
    """Return the first token of each content."""
    first: dict[str, AddedToken] = {}
    for token in tokens:
        first.setdefault(token.content, token)
    return list(first.values())


def _set_steps(tokenizer: Tokenizer, begin: str, end: str) -> None:
    """Set what is done to a text before its words are looked up, and to the token ids afterwards."""
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(SPACES, " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    ends = (_with_id(tokenizer, end), _with_id(tokenizer, begin))
    tokenizer.post_processor = RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)


def _with_id(tokenizer: Tokenizer, token: str) -> tuple[str, int]:
    """Return a token of the tokenizer and its id."""
    token_id = tokenizer.token_to_id(token)
    assert token_id is not None, token
    return token, token_id
