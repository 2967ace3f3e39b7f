"""The adapters among which prompts are answered: those of the index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autolora.dataset import store as dataset
from autolora.evaluation.benchmark import read_renderings
from autolora.index.copies import Index
from autolora.matching.hybrid import CaptionRule, combine, directions
from autolora.matching.language import Lane, Language
from autolora.storage.arrays import BoolArray, Float32Array
from bench.language.encoders import Remembered
from bench.language.prompts import Prompt

Captions = Mapping[str, tuple[str, ...]]
"""the captions of an adapter by image; an image without captions is left out"""


@dataclass(frozen=True, eq=False)
class Pool:
    """Adapters (N,) and how they are compared with the parts of prompts."""

    themes: tuple[str, ...]
    captions: Float32Array
    """(N, d) unit vectors in the language; zero for adapters that are found by their weights"""
    weights: Float32Array
    """(N, d') unit vectors"""
    allowed: BoolArray
    """(N,) the adapters that may be found"""

    @classmethod
    def of(
        cls,
        themes: tuple[str, ...],
        captions: Sequence[Captions],
        weights: Float32Array,
        language: Language,
        features: Callable[[Sequence[str]], Float32Array],
    ) -> "Pool":
        """Return the pool of adapters (N,) with these captions. features: from texts to those of the language."""
        means = np.zeros((len(themes), language.map.width))
        for row, by_image in enumerate(captions):
            for texts in by_image.values():
                means[row] += language.map.captions(features(texts)).sum(axis=0, dtype=np.float64)
        vectors = directions(means).astype(np.float32)
        return cls(themes, vectors, weights, np.ones(len(themes), np.bool_))

    @cached_property
    def has_captions(self) -> BoolArray:
        """Whether each adapter (N,) is found by its captions."""
        filled: BoolArray = np.any(self.captions, axis=1)
        return filled

    def for_prompt(self, prompt: Prompt) -> "Pool":
        """Return the pool without the adapters that a prompt removes."""
        if not prompt.is_removed:
            return self
        kept = np.array([theme not in prompt.themes for theme in self.themes], np.bool_)
        return replace(self, allowed=self.allowed & kept)

    def lanes(self, spoken: Float32Array, pictured: Float32Array, language: Language) -> list[Lane]:
        """Return the lanes of a search as the retriever makes them, for parts with these vectors (P, d), (P, d')."""
        by_weights, by_captions = language.coefficients
        lanes = []
        if self.has_captions.any():
            lanes.append(Lane(self.captions, self.has_captions, spoken, by_captions))
        if not self.has_captions.all():
            lanes.append(
                Lane(
                    self.weights,
                    ~self.has_captions,
                    pictured / np.float32(language.everyday_length),
                    by_weights,
                )
            )
        return lanes


def read_captions(root: Path, index: Index) -> list[Captions]:
    """Return the captions of each adapter of an index, also of one whose captions disagree with its weights."""
    captions, renderings = dataset.captions_by_image(root), read_renderings(root)
    return [
        {
            image: tuple(caption.text for caption in captions[image])
            for image in renderings[row["sha256"]]
            if image in captions
        }
        for row in index.rows
    ]


def agreeing(
    captions: Sequence[Captions], index: Index, rule: CaptionRule, embed: Remembered, min_length: float
) -> list[Captions]:
    """Return the captions without those that disagree with the weights of their adapter, as the index decides."""
    sums = [
        embed([text for texts in by_image.values() for text in texts]).sum(axis=0, dtype=np.float64)
        if by_image
        else np.zeros(index.vectors.shape[1])
        for by_image in captions
    ]
    counts = np.array([len(by_image) for by_image in captions])
    _, uses = combine(index.weights_vectors.astype(np.float64), np.stack(sums), counts, rule)
    uses |= np.linalg.norm(index.weights_vectors, axis=1) < min_length
    return [by_image if used else {} for by_image, used in zip(captions, uses.tolist(), strict=True)]
