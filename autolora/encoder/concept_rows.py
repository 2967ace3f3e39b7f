"""What concepts add to the ridge regression: further rows, from a gradient of the base model to captions.

The base model's mean gradient on the images of a concept points where the updates of adapters of that concept point.
Rows and targets are relative to all images of the concepts, as an adapter's are relative to all training adapters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autolora.concepts.store import Concepts
from autolora.matching.hybrid import directions
from autolora.storage.arrays import Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class ConceptRows:
    """The rows of C concepts."""

    gradients: Tensor
    """(C, S, m, p), of any scale per slot"""
    targets: Tensor
    """(C, d), unit"""
    families: Sequence[frozenset[str]]
    """per concept: the families whose renderings are among its images"""


def no_concepts(num_slots: int, size: int, width: int) -> ConceptRows:
    """Return the rows of no concept."""
    return ConceptRows(torch.zeros(0, num_slots, size, size), torch.zeros(0, width), ())


def make_concept_rows(concepts: Concepts, embed: Callable[[Sequence[str]], Float64Array]) -> ConceptRows:
    """Return each concept's mean gradient, with the unit mean of its captions' vectors less the mean over all images.

    There must be a concept. embed: from texts to their unit vectors (n, d); each distinct caption is embedded once.
    """
    texts = list(dict.fromkeys(concepts.captions))
    vectors, row = embed(texts), {text: number for number, text in enumerate(texts)}

    def mean(captions: Sequence[str]) -> Float64Array:
        center: Float64Array = vectors[[row[text] for text in captions]].mean(axis=0)
        return center

    means = np.stack([mean(concept.captions) for concept in concepts.concepts])
    targets = directions(means - mean(concepts.captions))
    families = [concept.families for concept in concepts.concepts]
    return ConceptRows(concepts.rows, torch.from_numpy(targets), families)
