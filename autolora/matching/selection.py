"""The selection of adapters for a prompt: one for each thing that it asks for and an adapter does, or none.

Orthogonal matching pursuit (Pati et al. 1993): after each selected adapter the prompt's vector is reduced to the part
that is orthogonal to the vectors of all selected ones, so a further adapter of the same concept has little left to
match. The relevance of the best remaining adapter decides whether it is selected or the selection ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolora.matching.relevance import Relevance
from autolora.storage.arrays import BoolArray, Float64Array

MIN_LENGTH = 1e-6
"""shorter remainders of a prompt's vector are divided by this instead"""

Rank = Callable[[Float64Array, bool], Float64Array]
"""from the adapters' cosines (N,) with the remainder, and whether it is the whole prompt, to what is maximized (N,)"""


@dataclass(frozen=True, slots=True)
class Match:
    """An adapter and how well it fits the part of the prompt that the adapters before it leave."""

    position: int
    cosine: float
    """of the adapter's vector with that part, -1 to 1"""
    rank_value: float
    """the maximized value; in a selection, the relevance"""
    is_first: bool
    """whether that part is the whole prompt"""


def pursue(prompt: Float64Array, vectors: NDArray[np.floating], rank: Rank) -> Iterator[Match]:
    """Yield all adapters in the order of the pursuit. prompt (d,), vectors (N, d): unit vectors."""
    chosen: list[int] = []
    rest = prompt
    while len(chosen) < len(vectors):
        cosines = np.asarray(
            vectors @ (rest / max(float(np.linalg.norm(rest)), MIN_LENGTH)), dtype=np.float64
        )
        values = rank(cosines, not chosen)
        values[chosen] = -np.inf
        best = int(values.argmax())
        yield Match(best, float(cosines[best]), float(values[best]), is_first=not chosen)
        chosen.append(best)
        basis = np.asarray(vectors[chosen], dtype=np.float64).T
        rest = prompt - basis @ np.linalg.lstsq(basis, prompt, rcond=None)[0]


def select(
    prompt: Float64Array,
    vectors: NDArray[np.floating],
    uses_captions: BoolArray,
    relevance: Relevance,
    max_selected: int,
    min_relevance: float,
) -> list[Match]:
    """Return the selected adapters, at most `max_selected`, each with a relevance of at least `min_relevance`.

    prompt (d,), vectors (N, d): unit vectors. uses_captions (N,): whether a vector contains captions.
    """

    def rank(cosines: Float64Array, is_first: bool) -> Float64Array:
        return relevance.probabilities(cosines, uses_captions, is_first)

    selected: list[Match] = []
    for match in pursue(prompt, vectors, rank):
        if len(selected) == max_selected or match.rank_value < min_relevance:
            break
        selected.append(match)
    return selected


def relevances(
    prompt: Float64Array, vectors: NDArray[np.floating], uses_captions: BoolArray, relevance: Relevance
) -> Float64Array:
    """Return the relevance of every adapter (N,), each beside those that come before it in the pursuit."""
    result = np.zeros(len(vectors))
    for match in pursue(prompt, vectors, lambda c, first: relevance.probabilities(c, uses_captions, first)):
        result[match.position] = match.rank_value
    return result
