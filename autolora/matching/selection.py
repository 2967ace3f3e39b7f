"""The selection of adapters for a prompt: one for each thing that it asks for and an adapter does, or none.

Orthogonal matching pursuit (Pati et al. 1993): after each selected adapter the prompt's vector is reduced to the part
that is orthogonal to the vectors of all selected ones, so a further adapter of the same concept has little left to
match. The relevance of the best remaining adapter decides whether it is selected or the selection ends.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Self

import numpy as np
from numpy.typing import NDArray

from autolora.matching.relevance import Relevance
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

MIN_LENGTH = 1e-6
"""shorter remainders of a prompt's vector are divided by this instead"""

Nearest = Callable[[Float64Array], tuple[Int64Array, NDArray[np.floating]]]
"""from a unit vector (d,) to the positions of the adapters nearest to it (M,), and their cosines (M,)"""
Rank = Callable[[Float64Array, BoolArray, float], Float64Array]
"""from candidates' cosines (M,) with the remainder of the prompt, whether their vectors contain captions (M,), and
the remainder's length, 0 for the whole prompt, to what is maximized (M,)"""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The adapters among which a selection chooses."""

    vectors: NDArray[np.floating]
    """(N, d), unit vectors"""
    uses_captions: BoolArray
    """(N,) whether a vector contains captions"""
    nearest: Nearest
    """may leave out adapters that must not be selected, or are far"""

    @classmethod
    def all_of(cls, vectors: NDArray[np.floating], uses_captions: BoolArray) -> Self:
        """Return all adapters as candidates of each step."""
        positions = np.arange(len(vectors))
        return cls(vectors, uses_captions, lambda wanted: (positions, vectors @ wanted))


@dataclass(frozen=True, slots=True)
class Match:
    """An adapter and how well it fits the part of the prompt that the adapters before it leave."""

    position: int
    cosine: float
    """of the adapter's vector with that part, -1 to 1"""
    rank_value: float
    """the maximized value; in a selection, the relevance"""
    remainder: float
    """length of that part; 0 if it is the whole prompt"""


def pursue(prompt: Float64Array, candidates: Candidates, rank: Rank) -> Iterator[Match]:
    """Yield the candidates in the order of the pursuit. prompt (d,): unit vector."""
    chosen: list[int] = []
    rest, remainder = prompt, 0.0
    while True:
        wanted = rest / max(float(np.linalg.norm(rest)), MIN_LENGTH)
        positions, cosines = _remaining(candidates.nearest(wanted), chosen)
        if not len(positions):
            return
        values = rank(cosines, candidates.uses_captions[positions], remainder)
        best = int(values.argmax())
        yield Match(int(positions[best]), float(cosines[best]), float(values[best]), remainder)
        chosen.append(int(positions[best]))
        basis = np.asarray(candidates.vectors[chosen], dtype=np.float64).T
        rest = prompt - basis @ np.linalg.lstsq(basis, prompt, rcond=None)[0]
        remainder = float(np.linalg.norm(rest))


def select(
    prompt: Float64Array,
    candidates: Candidates,
    relevance: Relevance,
    max_selected: int,
    min_relevance: float,
) -> list[Match]:
    """Return the selected adapters, at most `max_selected`, each with a relevance of at least `min_relevance`.

    prompt (d,): unit vector.
    """
    matches = islice(pursue(prompt, candidates, relevance.probabilities), max_selected)
    return list(takewhile(lambda match: match.rank_value >= min_relevance, matches))


def relevances(prompt: Float64Array, candidates: Candidates, relevance: Relevance) -> Float64Array:
    """Return the relevance of every candidate (N,), each beside those that come before it in the pursuit."""
    result = np.zeros(len(candidates.vectors))
    for match in pursue(prompt, candidates, relevance.probabilities):
        result[match.position] = match.rank_value
    return result


def _remaining(
    found: tuple[Int64Array, NDArray[np.floating]], chosen: Sequence[int]
) -> tuple[Int64Array, Float64Array]:
    positions, cosines = found
    kept = ~np.isin(positions, chosen)
    return positions[kept], cosines[kept].astype(np.float64)
