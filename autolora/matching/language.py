"""Relevance by the parts of a prompt, in the space of a sentence encoder and in that of the weights.

An adapter with captions is compared by these alone, one without captions by its weights alone: nearness in language is
not nearness in weights. Its relevance is that of the part of the prompt that fits it best.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from autolora.errors import MissingArtifact
from autolora.matching.hybrid import directions
from autolora.matching.relevance import logistic
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from autolora.storage.files import write_atomic

FILE = "language.safetensors"
MODEL = "model"
"""key of the file's metadata: the digest of the sentence encoder"""
MANY_WORDS = 10
"""words of a part, above which more of them change nothing"""
MIN_LENGTH = 1e-6
"""vectors that are shorter have no direction"""


@dataclass(frozen=True, slots=True, eq=False)
class LanguageMap:
    """From features (N, d) of a sentence encoder to the vectors by which captions and parts of prompts are compared.

    The matrix divides by two covariances: that within the captions of an adapter, so that color and place of a picture
    weigh little, and that of everyday phrases, so that frequent things do.
    """

    caption_mean: Float32Array
    """(d,) of the training adapters' captions"""
    phrase_mean: Float32Array
    """(d,) of everyday phrases"""
    matrix: Float32Array
    """(d, d); everyday phrases have vectors of length 1 on average"""

    @property
    def width(self) -> int:
        """Return the width d of the features."""
        return len(self.phrase_mean)

    def captions(self, features: Float32Array) -> Float32Array:
        """Return the unit vectors (N, d) of captions."""
        vectors: Float32Array = directions(
            ((features - self.caption_mean) @ self.matrix).astype(np.float64)
        ).astype(np.float32)
        return vectors

    def parts(self, features: Float32Array) -> Float32Array:
        """Return the vectors (N, d) of parts of prompts; that of a part about nothing in particular is short."""
        vectors: Float32Array = ((features - self.phrase_mean) @ self.matrix).astype(np.float32, copy=False)
        return vectors


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """What the training of an encoder has learned about language."""

    model: str
    """digest of the sentence encoder"""
    map: LanguageMap
    coefficients: Float64Array
    """(2, 4) of the log-odds of relevance (`log_odds_inputs`), by weights and by captions"""
    everyday_length: float
    """mean length of everyday phrases in the space that weights are compared with, before they are made unit vectors"""
    min_length: float
    """of what the regression predicts from weights: an adapter with less resembles no training adapter, so that its
    weights cannot contradict its captions"""

    @property
    def digest(self) -> str:
        """Return the sha256 of what was learned."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write language.safetensors into a folder, atomically."""
        write_atomic(folder / FILE, self._to_bytes())

    def _to_bytes(self) -> bytes:
        arrays = {name: getattr(self.map, name) for name in LanguageMap.__slots__}
        lengths = np.array([self.everyday_length, self.min_length])
        numbers = {"coefficients": self.coefficients, "lengths": lengths}
        content: bytes = save(arrays | numbers, {MODEL: self.model})
        return content

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Return the language in a folder; None if it has none. Raises MissingArtifact if it is damaged."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                model = file.metadata()[MODEL]
            coefficients, lengths = arrays.pop("coefficients"), arrays.pop("lengths").tolist()
            return cls(model, LanguageMap(**arrays), coefficients, *lengths)
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise MissingArtifact(
                f"{path} is not a valid language ({error}): run `dvc repro encoder index`"
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One way in which adapters are compared with the parts of a prompt."""

    vectors: Float32Array
    """(N, d) unit vectors, possibly with a 1 for each word; zero for adapters that have none"""
    members: BoolArray
    """(N,) the adapters whose relevance it decides"""
    parts: Float32Array
    """(P, d)"""
    coefficients: Float64Array
    """(4,)"""


@dataclass(frozen=True, slots=True, eq=False)
class PartScores:
    """For each adapter, the part of a prompt that fits it best."""

    log_odds: Float64Array
    """(N,) that the part asks for what the adapter does; -inf for adapters that must not be found"""
    parts: Int64Array
    """(N,) positions of the parts"""
    products: Float64Array
    """(N,) of the vectors of part and adapter"""


@dataclass(frozen=True, slots=True)
class PartMatch:
    """A selected adapter, and the part of the prompt that fits it best beside the adapters before it."""

    position: int
    part: int
    product: float
    """of the adapter's vector with what the adapters before it leave of the part's"""
    relevance: float


class PartSearch:
    """A prompt's parts against N adapters; adapters that are used take away what they answer."""

    def __init__(self, lanes: Sequence[Lane], sizes: Float64Array, allowed: BoolArray) -> None:
        """Compare parts with adapters.

        sizes (P,): of the parts, as those by which the coefficients were fitted. allowed (N,): the adapters that
        may be found.
        """
        self._lanes, self._sizes, self._count = lanes, sizes, len(allowed)
        self._members = [np.flatnonzero(lane.members & allowed) for lane in lanes]
        self._rests = [lane.parts.copy() for lane in lanes]
        self._bases: list[list[Float32Array]] = [[] for _ in lanes]
        self._used: list[int] = []

    def scores(self) -> PartScores:
        """Return the scores of the adapters beside those that are used, which have none."""
        odds, parts = np.full(self._count, -np.inf), np.zeros(self._count, np.int64)
        products = np.zeros(self._count)
        for members, values, found in self._compare():
            best, rows = found.argmax(axis=1), np.arange(len(members))
            odds[members], parts[members] = found[rows, best], best
            products[members] = values[rows, best]
        odds[self._used] = -np.inf
        return PartScores(odds, parts, products)

    def best_of_parts(self) -> tuple[Int64Array, Float64Array]:
        """Return the position of the adapter that fits each part best (P,), and its log-odds (P,); -inf if none may."""
        positions, odds = np.zeros(len(self._sizes), np.int64), np.full(len(self._sizes), -np.inf)
        for members, _, found in self._compare():
            if len(members):
                best, columns = found.argmax(axis=0), np.arange(found.shape[1])
                is_better = found[best, columns] > odds
                positions = np.where(is_better, members[best], positions)
                odds = np.maximum(odds, found[best, columns])
        return positions, odds

    def _compare(self) -> Iterator[tuple[Int64Array, Float32Array, Float32Array]]:
        """Yield the adapters of each lane (n,), and their products and log-odds (n, P)."""
        for lane, members, rests in zip(self._lanes, self._members, self._rests, strict=True):
            vectors = lane.vectors if len(members) == self._count else lane.vectors[members]
            products: Float32Array = vectors @ rests.T
            yield members, products, part_log_odds(products, self._sizes, lane.coefficients)

    def use(self, position: int) -> None:
        """Take what the adapter at a position answers away from every part."""
        self._used.append(position)
        for lane, rests, basis in zip(self._lanes, self._rests, self._bases, strict=True):
            axis = lane.vectors[position].astype(np.float32)
            for other in basis:
                axis = axis - (axis @ other) * other
            length = np.linalg.norm(axis)
            if length > MIN_LENGTH:
                basis.append(axis / length)
                rests -= np.outer(rests @ basis[-1], basis[-1])

    def pursue(self) -> Iterator[PartMatch]:
        """Yield adapters in the order of their selection, each with its relevance beside those before it."""
        while True:
            scores = self.scores()
            best = int(scores.log_odds.argmax()) if self._count else -1
            if best < 0 or scores.log_odds[best] == -np.inf:
                return
            relevance = float(logistic(scores.log_odds[best : best + 1])[0])
            yield PartMatch(best, int(scores.parts[best]), float(scores.products[best]), relevance)
            self.use(best)


def part_log_odds(products: Float32Array, sizes: Float64Array, coefficients: Float64Array) -> Float32Array:
    """Return the log-odds (N, P) that parts of these sizes ask for what adapters do, in the precision of products.

    They are those of `log_odds_inputs`, without an array of these.
    """
    of_product, of_size, of_both, intercept = coefficients
    slopes, offsets = of_product + of_both * sizes, of_size * sizes + intercept
    odds: Float32Array = products * slopes.astype(products.dtype) + offsets.astype(products.dtype)
    return odds


def log_odds_inputs(products: Float64Array, sizes: Float64Array) -> Float64Array:
    """Return what the coefficients (4,) multiply (n, 4): product, size of the part, product of both, and 1.

    products, sizes (n,): sizes as of `count_words`, or others.
    """
    return np.stack([products, sizes, products * sizes, np.ones_like(products)], axis=-1)


def count_words(parts: Sequence[str]) -> Float64Array:
    """Return the numbers of words of parts (P,), as shares of MANY_WORDS, at most 1."""
    return np.array([min(len(part.split()), MANY_WORDS) / MANY_WORDS for part in parts])
