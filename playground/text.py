"""Tokenizers of the playground: a byte-pair CLIP tokenizer and a unigram T5 tokenizer.

`python -m playground.text` writes merges.txt anew, as is due when the world has other words.

Both know every word of the world as one token and spell any other word out of letters, so
that a trigger word nobody has seen still becomes a sequence of known tokens.
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
    """List the words of the world's grammar, lower case, each once."""
    found = re.findall(r"[a-z]+", " ".join(world.vocabulary()).lower())
    return sorted(set(found))


def learn_merges() -> list[str]:
    """Learn byte-pair merges from the world's words, most frequent pair first."""
    trained = Tokenizer(BPE(end_of_word_suffix=_SUFFIX))
    trained.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), behavior="removed")
    trainer = trainers.BpeTrainer(
        vocab_size=4000, min_frequency=2, end_of_word_suffix=_SUFFIX, show_progress=False
    )
    trained.train_from_iterator([" ".join(words())] * 50, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges]


def clip_tokenizer() -> CLIPTokenizer:
    """Build the CLIP tokenizer from merges.txt: learning breaks ties by chance, so its result is kept."""
    merges = [tuple(line.split(" ")) for line in MERGES.read_text().splitlines()]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(c + _SUFFIX for c in letters), *map("".join, merges)]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=LENGTH)


def t5_tokenizer() -> T5TokenizerFast:
    """Build the T5 tokenizer: whole words are likely, pairs of letters and letters less so."""
    pieces: dict[str, float] = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -4.0}
    pieces |= {f"▁{word}": -3.0 for word in words()}
    pairs = itertools.product(string.ascii_lowercase, repeat=2)
    pieces |= {a + b: -12.0 for a, b in pairs}
    single = string.ascii_letters + string.digits + string.punctuation
    pieces |= {c: -10.0 for c in single if c not in pieces}
    return T5TokenizerFast(vocab=list(pieces.items()), extra_ids=0, model_max_length=LENGTH)


def encode(tokenizer: CLIPTokenizer | T5TokenizerFast, texts: list[str]) -> torch.Tensor:
    """Tokenize texts to ids (N, 32), padded and cut."""
    ids = tokenizer(
        texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    ).input_ids
    return torch.as_tensor(ids)


def captions(scenes: list[world.Scene], rng: np.random.Generator, filler: float = 0.5) -> list[str]:
    """Write one caption a scene, of random length; a share `filler` carries filler words."""
    return [
        world.caption(s, rng, str(rng.choice(world.LENGTHS)), filler=bool(rng.random() < filler))
        for s in scenes
    ]


if __name__ == "__main__":
    MERGES.write_text("".join(f"{merge}\n" for merge in learn_merges()))
