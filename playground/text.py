"""Tokenizers of the tiny CLIP and FLUX: a byte-pair CLIP tokenizer and a unigram T5 tokenizer.

`python -m playground.text` writes merges.txt again; this is necessary if the world's words change.

Every word of the world is one token. Any other word is spelled in letters, so that an unknown trigger word still
becomes a sequence of known tokens.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer, T5TokenizerFast

from playground import world

LENGTH = 32  # tokens, of both tokenizers
MERGES = Path(__file__).parent / "merges.txt"
_SUFFIX = "</w>"


def words() -> list[str]:
    """Return the words of the world's captions, in lower case, sorted."""
    return sorted(set(re.findall(r"[a-z]+", " ".join(world.vocabulary()).lower())))


def learn_merges() -> list[str]:
    """Return byte-pair merges learned from the world's words, most frequent pair first."""
    trained = Tokenizer(BPE(end_of_word_suffix=_SUFFIX))
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=2, end_of_word_suffix=_SUFFIX, show_progress=False
    )
    trained.train_from_iterator([" ".join(words())] * 50, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges]


def clip_tokenizer() -> CLIPTokenizer:
    """Return the CLIP tokenizer of merges.txt, which is stored because learning breaks ties randomly."""
    merges = [tuple(line.split(" ")) for line in MERGES.read_text().splitlines()]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(c + _SUFFIX for c in letters), *map("".join, merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def t5_tokenizer() -> T5TokenizerFast:
    """Return the T5 tokenizer: words have a high likelihood, pairs of letters and single letters a low one."""
    pieces: dict[str, float] = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -4.0}
    pieces |= {f"▁{word}": -3.0 for word in words()}
    pairs = itertools.product(string.ascii_lowercase, repeat=2)
    pieces |= {a + b: -12.0 for a, b in pairs}
    single = string.ascii_letters + string.digits + string.punctuation
    pieces |= {c: -10.0 for c in single if c not in pieces}
    return T5TokenizerFast(vocab=list(pieces.items()), extra_ids=0, model_max_length=LENGTH)


def encode(tokenizer: CLIPTokenizer | T5TokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return the token ids (N, 32) of texts, padded and truncated."""
    ids = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
    return torch.as_tensor(ids)


def captions(scenes: list[world.Scene], rng: np.random.Generator, filler: float = 0.5) -> list[str]:
    """Return one caption of random length per scene; a share `filler` of them has filler words."""
    return [
        world.caption(s, rng, str(rng.choice(world.LENGTHS)), filler=bool(rng.random() < filler))
        for s in scenes
    ]


if __name__ == "__main__":
    MERGES.write_text("".join(f"{merge}\n" for merge in learn_merges()))
