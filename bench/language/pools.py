"""The adapters among which prompts are answered: those of the index, with all or some of their captions, or others'."""

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
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array
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
    sums: Sequence[Mapping[str, Float64Array]]
    """per adapter: image -> the sum of its captions' vectors"""

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
        sums = [
            {
                image: language.map.captions(features(texts)).sum(axis=0, dtype=np.float64)
                for image, texts in by_image.items()
            }
            for by_image in captions
        ]
        vectors = np.stack([_mean(by_image, None, language.map.width) for by_image in sums])
        return cls(themes, vectors, weights, np.ones(len(themes), np.bool_), sums)

    @cached_property
    def has_captions(self) -> BoolArray:
        """Whether each adapter (N,) is found by its captions."""
        filled: BoolArray = np.any(self.captions, axis=1)
        return filled

    def restricted(self, allowed: BoolArray) -> "Pool":
        """Return the pool in which only these adapters (N,) may be found."""
        return replace(self, allowed=allowed)

    def for_prompt(self, prompt: Prompt) -> "Pool":
        """Return the pool without the adapters that a prompt removes, and the captions of the image it describes."""
        if prompt.is_removed:
            kept = np.array([theme not in prompt.themes for theme in self.themes], np.bool_)
            return self.restricted(self.allowed & kept)
        if prompt.image is None:
            return self
        captions = self.captions.copy()
        for row, sums in enumerate(self.sums):
            if prompt.image in sums:
                captions[row] = _mean(sums, prompt.image, captions.shape[1])
        return replace(self, captions=captions)

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

    def is_captioned(self, prompt: Prompt) -> bool:
        """Return whether an adapter of a theme of the prompt is found by its captions."""
        has = self.for_prompt(prompt).has_captions
        return any(has[row] for row, theme in enumerate(self.themes) if theme in prompt.themes)


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


def one_each(captions: Sequence[Captions], seed: int) -> list[Captions]:
    """Return one random caption of each adapter that has some."""
    rng = np.random.default_rng(seed)
    flat = [[(image, text) for image, texts in row.items() for text in texts] for row in captions]
    drawn = [pairs[rng.integers(len(pairs))] if pairs else None for pairs in flat]
    return [{} if pair is None else {pair[0]: (pair[1],)} for pair in drawn]


def without_half(captions: Sequence[Captions], themes: Sequence[str], seed: int) -> list[Captions]:
    """Return the captions without those of all adapters of a random half of the themes."""
    names = sorted(set(themes))
    silent = set(np.random.default_rng(seed).permutation(names)[: len(names) // 2].tolist())
    return [{} if theme in silent else by_image for by_image, theme in zip(captions, themes, strict=True)]


def exchanged(captions: Sequence[Captions], themes: Sequence[str], seed: int) -> list[Captions]:
    """Return the captions in an order in which no adapter has those of an adapter of its theme."""
    rng, names = np.random.default_rng(seed), np.array(themes)
    while True:
        order = rng.permutation(len(names))
        if not (names[order] == names).any():
            return [captions[row] for row in order.tolist()]


def with_free(captions: Sequence[Captions], free: Mapping[str, str]) -> list[Captions]:
    """Return the captions with those of `free`, by image, as the only ones of their adapters."""
    return [
        {image: (free[image],) for image in by_image if image in free} or by_image for by_image in captions
    ]


def _mean(sums: Mapping[str, Float64Array], without: str | None, width: int) -> Float32Array:
    """Return the unit mean (d,) of the captions of an adapter, without those of an image; zero if it has none."""
    rows = [vector for image, vector in sums.items() if image != without]
    mean: Float32Array = directions(np.sum([np.zeros(width), *rows], axis=0)[None])[0].astype(np.float32)
    return mean
