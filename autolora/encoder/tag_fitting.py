"""Fit tags: choose the candidates, and calibrate their probability on adapters that the encoder has not seen.

The training adapters serve as unseen ones: their vectors are out of fold, and the words that no other family's captions
contain are not candidates for them. The tags of each are found as those of any adapter, and a tag is right if most of
the adapter's captions contain it.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from autolora.encoder.calibration import maximize_likelihood
from autolora.encoder.examples import TrainExample
from autolora.encoder.tags import TagTable
from autolora.matching.words import STOP_WORDS, split_words
from autolora.storage.arrays import Float64Array

MAX_CANDIDATES = 2000
MIN_SHARE = 0.5
"""a tag is right if at least this share of the captions contains it"""

logger = logging.getLogger(__name__)


def fit_tags(
    train_examples: Sequence[TrainExample],
    weights: Float64Array,
    embed: Callable[[Sequence[str]], Float64Array],
) -> TagTable | None:
    """Return the tags of an encoder; None if nothing can be a tag, or no candidate is of two families.

    weights: what the encoder predicts (N, d) from the training adapters' weights. embed: from texts to their unit
    vectors.
    """
    candidates = list_candidates(train_examples)
    if not candidates:
        return None
    texts = tuple(candidates)
    table = TagTable(texts, embed(texts).astype(np.float32), np.zeros(2))
    observations = list(_observe(table, candidates, train_examples, weights))
    return (
        TagTable(texts, table.vectors, _fit_probability(*np.array(observations).T)) if observations else None
    )


def _fit_probability(cosines: Float64Array, labels: Float64Array) -> Float64Array:
    """Return slope and intercept (2,) of the probability that a tag with a cosine is right.

    The slope is at least 0: if a larger cosine makes a tag less likely, the training adapters are no evidence, and a
    warning is logged.
    """
    inputs, weights = np.stack([cosines, np.ones_like(cosines)], axis=1), np.ones_like(cosines)
    coefficients = maximize_likelihood(inputs, labels, weights)
    if coefficients[0] >= 0:
        return coefficients
    logger.warning("tags do not depend on the cosine: the training adapters are too few or too different")
    inputs[:, 0] = 0.0
    return maximize_likelihood(inputs, labels, weights)


def list_candidates(train_examples: Sequence[TrainExample]) -> dict[str, frozenset[str]]:
    """Return candidate -> the families that have it: the words of most families' captions."""
    families: defaultdict[str, set[str]] = defaultdict(set)
    for example in train_examples:
        for word in {word for text in example.captions for word in split_words(text) if _is_content(word)}:
            families[word].add(example.family)
    by_count = sorted(families.items(), key=lambda item: (-len(item[1]), item[0]))
    return {word: frozenset(own) for word, own in by_count[:MAX_CANDIDATES]}


def contains(captions: Sequence[str], text: str) -> bool:
    """Return whether most captions contain a word or phrase."""
    holding = [f" {text} " in f" {' '.join(split_words(caption))} " for caption in captions]
    return sum(holding) >= MIN_SHARE * len(holding)


def _observe(
    table: TagTable,
    candidates: Mapping[str, frozenset[str]],
    train_examples: Sequence[TrainExample],
    weights: Float64Array,
) -> Iterator[tuple[float, bool]]:
    """Yield the cosines of each training adapter's tags among those that another family has, and which are right."""
    sources = list(candidates.values())
    for example, vector in zip(train_examples, weights, strict=True):
        known = np.array([bool(families - {example.family}) for families in sources])
        texts = tuple(text for text, is_known in zip(table.texts, known, strict=True) if is_known)
        others = TagTable(texts, table.vectors[known], table.coefficients)
        for nearest in others.nearest(vector[None]):
            for row, cosine in nearest:
                yield cosine, contains(example.captions, texts[row])


def _is_content(word: str) -> bool:
    """Return whether a word can say what an image shows."""
    return word.isalpha() and word not in STOP_WORDS
