"""Description of a LoRA by its weights: tags, and the nearest captions and adapters, according to an encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from autolora.encoder.model import Encoder, caption_rule, embed_texts, predict
from autolora.encoder.tags import Tag, TagTable
from autolora.inspection.neighbors import Neighbor, Neighbors
from autolora.lora.factors import Lora
from autolora.lora.sketch import Sketch
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.words import name_words
from autolora.storage.arrays import Float64Array
from autolora.text_encoder.clip import NumpyTextEncoder

NUM_CAPTIONS, NUM_ADAPTERS = 2, 3
CAPTIONED_ADAPTERS = 10
"""nearest adapters whose captions are compared with the weights"""
ENOUGH = 0.3
"""an agreement that no text has to exceed. The rule expects captions, and of adapters that the encoder was trained on
nearly exact ones. Of the playground's themes as names, 97 % of the right ones pass and 83 % of the wrong ones do not
for adapters unseen in training; for training adapters 96 % and 96 % (bench/names.py of commit 76cad11)"""
VAGUE = frozenset({"art"})
"""words of names that are not compared with the weights"""
MAX_KEPT_TEXTS = 20_000
"""vectors of texts that are kept, so that each is encoded once"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A text and its cosine with the weights."""

    text: str
    cosine: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TextCheck:
    """Whether a text about a file agrees with its weights."""

    source: str
    """what the text is taken from, e.g. the file's name"""
    text: str
    agreement: float
    """cosine of text and weights, relative to the mean caption"""
    expected: float
    """the lowest agreement of a right text, almost always"""

    @property
    def agrees(self) -> bool:
        """Whether text and weights agree."""
        return self.agreement >= self.expected

    @property
    def verdict(self) -> str:
        """The check as a phrase."""
        relation = "agrees" if self.agrees else "disagrees"
        numbers = f"cosine {self.agreement:.2f}, at least {self.expected:.2f} expected"
        return f"{self.source} “{self.text}” {relation} with the weights ({numbers})"


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What is nearest to the weights of one file; lists are sorted by cosine, highest first."""

    tags: tuple[Tag, ...]
    """most probable first; empty if the encoder has none"""
    captions: tuple[Match, ...]
    """of the nearest adapters"""
    adapters: tuple[Neighbor, ...]
    """of the index, without the file itself"""
    checks: tuple[TextCheck, ...]


class Describer:
    """An encoder with its text encoder, and what files are compared with."""

    def __init__(
        self,
        encoder: Encoder,
        text_encoder: NumpyTextEncoder,
        neighbors: Neighbors | None,
        tags: TagTable | None,
    ) -> None:
        """Combine these; the encoder must have been trained with the text encoder."""
        self._encoder, self._text_encoder = encoder, text_encoder
        self._neighbors, self._tags = neighbors, tags
        self._rule = caption_rule(encoder)
        self._vectors: dict[str, Float64Array] = {}

    def describe(
        self, lora: Lora, sketch: Sketch, sha256: str | None, texts: Mapping[str, str]
    ) -> Description:
        """Return the description of a file. texts: source -> text about the file."""
        weights = self._embed(lora, sketch)
        vector = directions(weights[None])[0]
        neighbors = self._neighbors
        near = neighbors.nearest(vector, CAPTIONED_ADAPTERS + 1) if neighbors else []
        others = [neighbor for neighbor in near if neighbor.sha256 != sha256]
        captions = neighbors.captions([neighbor.sha256 for neighbor in near]) if neighbors else []
        return Description(
            tags=self._tags.tags(weights[None])[0] if self._tags else (),
            captions=tuple(self._match(captions, vector)[:NUM_CAPTIONS]),
            adapters=tuple(others[:NUM_ADAPTERS]),
            checks=self._check(weights, texts),
        )

    @property
    def has_tags(self) -> bool:
        """Whether the encoder says in words what files do."""
        return self._tags is not None

    @property
    def reads_sketches(self) -> bool:
        """Whether the encoder reads sketches, which LoKrs of any rank have, and not factors."""
        return self._encoder.config.variant.probe == "sketch"

    def known_words(self, text: str) -> list[str]:
        """Return the words of a text, e.g. a file's name, that can describe a LoRA: whole words of the vocabulary."""
        words = [word for word in name_words(text) if word not in VAGUE]
        if not words:
            return []
        end, *ids = self._text_encoder.tokenizer.encode(["", *words])
        known = [row[2] == end[1] for row in ids]  # begin, one token, end
        return [word for word, is_known in zip(words, known, strict=True) if is_known]

    def _embed(self, lora: Lora, sketch: Sketch) -> Float64Array:
        """Return the vector (d,) of the weights, of any length if the encoder takes captions."""
        config = self._encoder.config
        batch = (
            config.sketch_to_batch(sketch) if config.variant.probe == "sketch" else config.lora_to_batch(lora)
        )
        with torch.inference_mode():
            vector: Float64Array = predict(self._encoder, batch.values, batch.present)[0].double().numpy()
        return vector

    def _match(self, texts: Sequence[str], vector: Float64Array) -> list[Match]:
        """Return texts with their cosines, nearest first."""
        if not texts:
            return []
        cosines = self._embed_texts(texts) @ vector
        order = np.argsort(-cosines, kind="stable").tolist()
        return [Match(text=texts[row], cosine=round(float(cosines[row]), 3)) for row in order]

    def _check(self, weights: Float64Array, texts: Mapping[str, str]) -> tuple[TextCheck, ...]:
        """Return the check of each text; none if the encoder, which does not take captions, has no rule."""
        rule = self._rule
        if rule is None or not texts:
            return ()
        vectors = self._embed_texts(list(texts.values()))
        return tuple(
            check_text(rule, source, text, weights, vector)
            for (source, text), vector in zip(texts.items(), vectors, strict=True)
        )

    def _embed_texts(self, texts: Sequence[str]) -> Float64Array:
        """Return the unit vectors (N, d) of texts."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if len(self._vectors) + len(new) > MAX_KEPT_TEXTS:
            self._vectors.clear()
            new = list(dict.fromkeys(texts))
        if new:
            vectors = embed_texts(self._encoder, self._text_encoder, new)
            self._vectors.update(zip(new, vectors, strict=True))
        return np.stack([self._vectors[text] for text in texts])


def check_text(
    rule: CaptionRule, source: str, text: str, weights: Float64Array, vector: Float64Array
) -> TextCheck:
    """Return the check of one text, with its unit vector (d,), against the vector of the weights (d,)."""
    agreement = float(rule.agreements(weights[None], vector[None])[0])
    expected = min(ENOUGH, float(rule.expected(weights[None], vector[None])[0]))
    return TextCheck(source=source, text=text, agreement=round(agreement, 3), expected=round(expected, 3))
