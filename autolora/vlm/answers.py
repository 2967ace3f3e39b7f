"""Checks and probabilities of a vision-language model's answers.

VQAScore (Lin et al. 2024) is the probability of yes for the question whether an image shows a text.
"""

import re
import unicodedata
from typing import Any

import torch
from torch import Tensor

from autolora.errors import ImageFailed, MismatchError

SPELLINGS = (("yes", "no"), ("Yes", "No"))
"""first tokens of an answer; the probabilities of both spellings are added"""
WHOLE_PARTS = (
    re.compile(r"""(.*(?:[^\W\d_]{2}[.!?]["'”’»)\]]*(?=\s|$)|[。！？]))"""),
    re.compile(r"(.*[^\W\d_]\S*)\s"),
)
"""the whole sentences of a cut text (a number or an initial ends none), and its whole words"""


def yes_no_token_ids(tokenizer: Any) -> Tensor:
    """Return the token ids of yes and no (2, S), for the S spellings in which both words are single tokens.

    Raises MismatchError if there is no such spelling.
    """
    pairs = [[tokenizer(word, add_special_tokens=False).input_ids for word in pair] for pair in SPELLINGS]
    single_tokens = [[ids[0] for ids in pair] for pair in pairs if all(len(ids) == 1 for ids in pair)]
    if not single_tokens:
        raise MismatchError(
            "the VLM's tokenizer splits both yes and no, and Yes and No, into several tokens, so the first token "
            "cannot be scored: set judges.vlm in params.yaml to another model"
        )
    return torch.tensor(single_tokens).T


def yes_probabilities(logits: Tensor, token_ids: Tensor) -> list[float]:
    """Return P(yes) / (P(yes) + P(no)) of each answer (B,).

    logits: of the first token (B, V). token_ids: of yes and no (2, S).
    """
    yes, no = logits.double()[:, token_ids.to(logits.device)].logsumexp(dim=-1).T
    probabilities: list[float] = torch.sigmoid(yes - no).tolist()
    return probabilities


def checked_caption(text: str, cut: bool = False) -> str:
    """Return a caption on one line; one that is cut ends with its last whole sentence, or else its last whole word.

    Raises ImageFailed if it has no letter, or a replacement or control character.
    """
    line = " ".join(text.split())
    if cut:  # a limit may also split a character
        line = line.rstrip("\ufffd")
        line = next((found[1] for pattern in WHOLE_PARTS if (found := pattern.match(line))), line)
    broken = any(character == "\ufffd" or unicodedata.category(character) == "Cc" for character in line)
    if broken or not any(character.isalpha() for character in line):
        raise ImageFailed(f"the VLM answered {line[:80]!r}, expected a text")
    return line
