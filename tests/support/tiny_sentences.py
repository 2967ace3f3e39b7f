"""Sentence encoders without meaning beyond words: one in memory, and one with the files that an index copies."""

import json
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel

from autolora.encoder import store as encoder_store
from autolora.encoder.everyday import AFTER, BEFORE, EVERYDAY_PHRASES
from autolora.encoder.examples import load_examples
from autolora.encoder.language import GENERAL_COEFFICIENTS, fit_map
from autolora.encoder.model import TextEncoder
from autolora.encoder.tags import load_tags
from autolora.matching.caption_rule import directions
from autolora.matching.language import Language, TextTrust
from autolora.matching.words import split_words
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.hashes import hash_value
from autolora.text_encoder import bert
from autolora.text_encoder.sentence_folder import SentenceSettings
from autolora.text_encoder.sentences import (
    SAVED,
    SAVED_TOKENIZER,
    SAVED_WEIGHTS,
    SentenceEncoder,
    load_saved,
)

WIDTH = 64
MAX_TOKENS = 48
WORDS = ("watercolour", "mosaic", "neon", "linocut", "pixel", "chalk", "drawing", "thing", "style", "0", "1")
"""of the captions in tests.support.synthetic_repo"""
COEFFICIENTS = np.array([[60.0, 0.0, 0.0, -54.0], [40.0, 0.0, 0.0, -16.0], GENERAL_COEFFICIENTS])
"""of the log-odds of relevance: even at a cosine of .9 by weights, and at a product of .4 by captions"""


@dataclass(frozen=True, slots=True)
class WordSums:
    """A sentence encoder whose vectors are sums of random vectors of words, and of one that all texts share."""

    width: int = WIDTH
    digest: str = "word sums"

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the unit vectors (N, width) of texts."""
        words = [["", *split_words(text)] for text in texts]
        sums = np.array([sum(_vector(word, self.width) for word in row) for row in words])
        return directions(sums.reshape(len(texts), self.width)).astype(np.float32)


@lru_cache(maxsize=10_000)
def _vector(word: str, width: int) -> Float64Array:
    """Return the random vector (width,) of a word."""
    return np.random.default_rng(int(hash_value(["word", word])[:12], 16)).standard_normal(width)


def tiny_sentence_encoder(folder: Path, seed: int = 0, words: Sequence[str] = ()) -> SentenceEncoder:
    """Return a tiny random BERT, saved in a folder as that of an index, whose tokens are words of the tests.

    words: further ones.
    """
    texts = (*EVERYDAY_PHRASES, *BEFORE, *AFTER, *WORDS, *words)
    words = sorted({word for text in texts for word in split_words(text)})
    tokens = {
        token: number for number, token in enumerate(("[PAD]", "[CLS]", "[UNK]", *string.punctuation, *words))
    }
    tokenizer = Tokenizer(WordLevel(tokens, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", tokens["[CLS]"])]
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / SAVED_TOKENIZER))
    content = {
        "config": asdict(bert.BertConfig.read(_save_bert(folder, [f"{token} {seed}" for token in tokens]))),
        "digest": hash_value(["tiny sentence encoder", seed]),
        "settings": asdict(SentenceSettings(False, MAX_TOKENS, True, "mean", "")),
    }
    (folder / SAVED).write_text(json.dumps(content))
    return load_saved(folder)


def _save_bert(folder: Path, tokens: Sequence[str]) -> dict[str, object]:
    """Save a BERT of one layer, in which words weigh more than their places, and return its config."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
    )
    model = BertModel(config).eval().requires_grad_(False)
    vectors = np.array([_vector(token, WIDTH) for token in tokens])
    model.embeddings.word_embeddings.weight.copy_(torch.from_numpy(vectors))
    model.save_pretrained(folder)
    (folder / "model.safetensors").rename(folder / SAVED_WEIGHTS)
    content: dict[str, object] = config.to_dict()
    return content


def teach(root: Path, sentences: SentenceEncoder | None) -> None:
    """Give the trained encoder of a project a plain language of these sentences, or none, without a training."""
    folder = encoder_store.folder(root)
    captions = [example.captions for example in load_examples(root)]
    encoder = encoder_store.load_encoder(folder)
    language = None if sentences is None else plain_language(sentences, captions)
    encoder_store.save_encoder(folder, encoder, load_tags(folder), language)
    trained_from = {"language": language.digest if language else ""}
    encoder_store.write_encoder_digest(root, encoder, trained_from, language)


def plain_language(sentences: TextEncoder, captions: Sequence[Sequence[str]] = ()) -> Language:
    """Return a language whose maps are fitted to the captions of each adapter and to a few everyday phrases.

    It trusts all texts alike.
    """
    features = [sentences.encode(texts) for texts in captions]
    everyday, empty = sentences.encode(EVERYDAY_PHRASES[:300]), sentences.encode([""])[0]
    return Language(
        model=sentences.digest,
        captions=fit_map(features, everyday, empty),
        texts=fit_map([], everyday, empty),
        coefficients=COEFFICIENTS,
        trust=TextTrust(np.zeros(2), np.zeros(2)),
        everyday_length=1.0,
        min_length=0.0,
    )
