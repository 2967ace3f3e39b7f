"""The adapters among which prompts are answered: those of the index."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autolora.dataset import store as dataset
from autolora.evaluation.benchmark import read_renderings
from autolora.index.copies import Index
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.evidence import Evidence
from autolora.matching.language import Language
from autolora.storage.arrays import BoolArray, Float32Array
from bench.language.encoders import Remembered
from bench.language.prompts import Prompt

Captions = Mapping[str, tuple[str, ...]]
"""the captions of an adapter by image; an image without captions is left out"""


@dataclass(frozen=True, eq=False)
class Pool:
    """Adapters (N,) and what is known of them."""

    themes: tuple[str, ...]
    evidence: Evidence
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
        means = np.zeros((len(themes), language.captions.width))
        for row, by_image in enumerate(captions):
            for texts in by_image.values():
                means[row] += language.captions.said(features(texts)).sum(axis=0, dtype=np.float64)
        vectors = directions(means).astype(np.float32)
        none, certain = np.zeros_like(vectors), np.zeros(len(themes), np.float32)
        evidence = Evidence(weights, vectors, none, none, certain, None)
        return cls(themes, evidence, np.ones(len(themes), np.bool_))

    def for_prompt(self, prompt: Prompt) -> "Pool":
        """Return the pool without the adapters that a prompt removes."""
        if not prompt.is_removed:
            return self
        kept = np.array([theme not in prompt.themes for theme in self.themes], np.bool_)
        return replace(self, allowed=self.allowed & kept)


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
        else np.zeros(index.weights_vectors.shape[1])
        for by_image in captions
    ]
    weights, totals = index.weights_vectors.astype(np.float64), np.stack(sums)
    uses = rule.agreements(weights, totals) >= rule.expected(weights, totals)
    uses &= np.array([bool(by_image) for by_image in captions])
    uses |= np.linalg.norm(index.weights_vectors, axis=1) < min_length
    return [by_image if used else {} for by_image, used in zip(captions, uses.tolist(), strict=True)]
