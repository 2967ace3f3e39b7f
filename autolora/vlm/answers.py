"""What a vision-language model answers: a text that can be kept, or how likely its first token is yes, of yes and no.

VQAScore (Lin et al. 2024) is this probability for the question whether a picture shows a text.
"""

import math
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autolora.errors import CaptionError, MismatchError

SPELLINGS = (("yes", "no"), ("Yes", "No"))
"""what the answer may begin with; probabilities of both spellings are added"""


def word_tokens(tokenizer: Any) -> Tensor:
    """Return the ids of yes and of no (2, S), one column for each spelling that is one token in both words.

    Raises MismatchError when there is none.
    """
    pairs = [[tokenizer(word, add_special_tokens=False).input_ids for word in pair] for pair in SPELLINGS]
    whole = [[ids[0] for ids in pair] for pair in pairs if all(len(ids) == 1 for ids in pair)]
    if not whole:
        raise MismatchError(
            "the VLM's tokenizer has neither yes and no nor Yes and No as single tokens, so its first token is no "
            "answer: name another model as judges.vlm in params.yaml"
        )
    return torch.tensor(whole).T


def from_logits(logits: Tensor, words: Tensor) -> list[float]:
    """Return p(yes) / (p(yes) + p(no)) of the first token's logits (B, V); words: ids of yes and no (2, S)."""
    yes, no = logits.double()[:, words.to(logits.device)].logsumexp(dim=-1).T
    likely: list[float] = torch.sigmoid(yes - no).tolist()
    return likely


def from_likeliest(logprobs: Mapping[str, float]) -> float:
    """Return p(yes) / (p(yes) + p(no)) of the likeliest first tokens (token -> natural logarithm).

    A word that is not among them counts as impossible.
    Raises CaptionError when none of the words is.
    """
    yes, no = (
        sum(math.exp(logprobs[word]) for word in words if word in logprobs)
        for words in zip(*SPELLINGS, strict=True)
    )
    if yes + no == 0:
        first = max(logprobs, key=logprobs.__getitem__, default="")
        raise CaptionError(
            f"the VLM's answer begins neither with yes nor with no but with {first!r}: "
            "does judges.question of params.yaml ask for one of them?"
        )
    return yes / (yes + no)


def checked(text: str, image: Path) -> str:
    """Return an answer on one line.

    Raises CaptionError when it is empty or nonsense: no letter, or characters that no text has.
    """
    line = " ".join(text.split())
    broken = any(character == "\ufffd" or unicodedata.category(character) == "Cc" for character in line)
    if broken or not any(character.isalpha() for character in line):
        raise CaptionError(
            f"the VLM answered {line[:80]!r} for {image}: is models.vlm of params.yaml whole and trained?"
        )
    return line
