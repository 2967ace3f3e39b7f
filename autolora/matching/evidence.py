"""Relevance of adapters to the parts of a prompt, by three kinds of evidence: weights, captions, and texts.

An adapter has the kinds that exist. Each gives log-odds that a part of the prompt asks for what the adapter does, and
what exceeds the prior is added up: a kind that says nothing costs nothing, and two half-sure ones make a sure one.
Where captions count, weights are not compared: nearness in weights is not nearness in language. Where they are of the
adapter's own drawings, weights are compared too, with trust at even odds: they alone select nothing, but find what a
drawing does not show. Texts count as far as they are trusted to be the adapter's own. An adapter's relevance is that of
the part that fits it best.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolora.matching.language import Language
from autolora.matching.parts import run_shares, split_parts, wanted_text
from autolora.matching.shared_words import share_words
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array, Int64Array

Embed = Callable[[Sequence[str]], Float32Array]
"""from texts to features or vectors (N, d)"""
PRIOR = -3.0
"""log-odds that a part asks for what an adapter does, before anything is compared"""
MANY_WORDS = 10
"""words of a part, above which more of them change nothing"""
MIN_LENGTH = 1e-6
"""vectors that are shorter have no direction"""
WHOLE_CAPTIONS, WHOLE_TEXTS = 8.0, 4.0
"""log-odds by which a cosine of 1 of the whole prompt with captions, or with all texts as one, moves an adapter in the
order"""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of N adapters."""

    weights: Float32Array | None
    """(N, d') vectors of weights, of any length; None if no encoder has read them"""
    captions: Float32Array
    """(N, d) unit vectors; zero for adapters without captions that count"""
    texts: Float32Array
    """(N, d) unit vectors; zero for adapters without texts"""
    whole_texts: Float32Array
    """(N, d) unit vectors of all texts as one, as the sentence encoder makes them"""
    trust: Float32Array
    """(N,) log-odds that texts are the adapter's own"""
    words: pa.Array | None
    """(N,) lists of the words of the texts, each once; None if no adapter has texts"""
    drawn: BoolArray | None = None
    """(N,) whether the captions are of what the adapter itself has drawn; None if none are"""

    @cached_property
    def has_captions(self) -> BoolArray:
        """Whether each adapter (N,) has captions that count."""
        return _lengths(self.captions) > 0

    @cached_property
    def has_texts(self) -> BoolArray:
        """Whether each adapter (N,) has texts; of one in unknown characters there are words alone."""
        has_vector: BoolArray = _lengths(self.texts) > 0
        if self.words is None:
            return has_vector
        has_words: BoolArray = pc.list_value_length(self.words).to_numpy(zero_copy_only=False) > 0
        return has_vector | has_words

    @cached_property
    def weights_scales(self) -> Float32Array:
        """What makes vectors of weights unit vectors (N,); 0 for those without a direction."""
        assert self.weights is not None
        lengths = _lengths(self.weights)
        scales: Float32Array = np.where(lengths > MIN_LENGTH, 1 / np.maximum(lengths, MIN_LENGTH), 0).astype(
            np.float32
        )
        return scales


def _lengths(vectors: Float32Array) -> Float32Array:
    lengths: Float32Array = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return lengths


@dataclass(frozen=True, eq=False)
class Reading:
    """The parts of a prompt (P,), and what they are compared by."""

    parts: tuple[str, ...]
    spoken: Float32Array
    """(P, d) in the captions' space"""
    written: Float32Array
    """(P, d) in the texts' space"""
    project: Embed
    """from texts to the space of weights, in which everyday phrases have length 1"""
    shares: Float64Array
    """(P,) of runs of words that parts are"""
    whole: tuple[Float32Array, Float32Array]
    """(d,) unit vectors of the prompt without what it negates: in the captions' space, and in the sentence encoder's"""

    @cached_property
    def pictured(self) -> Float32Array:
        """The parts (P, d') in the space of weights."""
        return self.project(self.parts)


def read_prompt(prompt: str, language: Language, encode: Embed, project: Embed) -> Reading:
    """Return how a language reads a prompt.

    encode: the sentence encoder. project: from texts to the space of weights, called if these are compared.
    """
    parts = split_parts(prompt)
    features = encode([*parts, wanted_text(prompt)])
    spoken, written = language.captions.parts(features), language.texts.parts(features[:-1])
    return Reading(
        parts=parts,
        spoken=spoken[:-1],
        written=written,
        project=lambda texts: project(texts) / np.float32(language.everyday_length),
        shares=run_shares(prompt, parts),
        whole=(_unit(spoken[-1]), _unit(features[-1])),
    )


def _unit(vector: Float32Array) -> Float32Array:
    unit: Float32Array = vector / np.float32(max(float(np.linalg.norm(vector)), MIN_LENGTH))
    return unit


def make_lanes(reading: Reading, evidence: Evidence, language: Language) -> list["Lane"]:
    """Return the lanes by which adapters are compared with a prompt: of weights, captions, and texts."""
    by_weights, by_captions, by_texts = language.coefficients
    has_captions, has_texts, lanes = evidence.has_captions, evidence.has_texts, list[Lane]()
    counts = count_words(reading.parts)
    drawn = has_captions & (False if evidence.drawn is None else evidence.drawn)
    if evidence.weights is not None:
        scales, even = evidence.weights_scales, np.zeros(len(drawn), np.float32)
        pairs = ((~has_captions, None), (drawn, even))
        lanes += [
            Lane(evidence.weights, members, reading.pictured, counts, by_weights, trust, scales=scales)
            for members, trust in pairs
            if members.any()
        ]
    if has_captions.any():
        lanes.append(Lane(evidence.captions, has_captions, reading.spoken, counts, by_captions))
    if has_texts.any():
        shared = None if evidence.words is None else share_words(reading.parts, evidence.words)
        trust = evidence.trust
        lanes.append(
            Lane(evidence.texts, has_texts, reading.written, reading.shares, by_texts, trust, shared)
        )
    return lanes


def whole_prompt(reading: Reading, evidence: Evidence) -> Float32Array:
    """Return what the whole prompt adds to the log-odds that order adapters (N,).

    It is in proportion to its cosine with captions or texts, less the mean over the adapters that have such, and for
    texts as far as they are trusted; the larger of the two, 0 without either.
    """
    best = np.full(len(evidence.trust), -np.inf, np.float32)
    captions, texts = reading.whole
    trust = logistic(evidence.trust).astype(np.float32)
    for vectors, members, whole, weights in (
        (evidence.captions, evidence.has_captions, captions, np.full_like(trust, WHOLE_CAPTIONS)),
        (evidence.whole_texts, evidence.has_texts, texts, trust * np.float32(WHOLE_TEXTS)),
    ):
        if members.any():
            cosines = vectors @ whole
            added = (cosines - cosines[members].mean()) * weights
            best = np.where(members, np.maximum(best, added), best)
    moves: Float32Array = np.where(best > -np.inf, best, 0).astype(np.float32)
    return moves


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """One kind of evidence, by which adapters are compared with the parts of a prompt."""

    vectors: Float32Array
    """(N, d) unit vectors, or such to be scaled; zero for adapters that have none"""
    members: BoolArray
    """(N,) the adapters that it says something about"""
    parts: Float32Array
    """(P, d)"""
    sizes: Float64Array
    """(P,) of the parts, as those by which the coefficients were fitted"""
    coefficients: Float64Array
    """(4,)"""
    trust: Float32Array | None = None
    """(N,) log-odds that the evidence is the adapter's own; None if that is certain"""
    shared: tuple[Float32Array, Float32Array] | None = None
    """coordinates of parts (P, W) and adapters (N, W) beside the vectors', for words that they share"""
    scales: Float32Array | None = None
    """(N,) factors that make the vectors unit vectors; None if they are"""

    @property
    def wanted(self) -> Float32Array:
        """Return all coordinates of the parts (P, d + W)."""
        return self.parts if self.shared is None else np.hstack((self.parts, self.shared[0]))

    def axis(self, position: int) -> Float32Array:
        """Return all coordinates of an adapter (d + W,)."""
        scale = np.float32(1) if self.scales is None else self.scales[position]
        vector: Float32Array = np.asarray(self.vectors[position], np.float32) * scale
        return vector if self.shared is None else np.concatenate((vector, self.shared[1][position]))

    def products(self, wanted: Float32Array, rows: Int64Array | None) -> Float32Array:
        """Return the products (n, P) of adapters at rows (n,), or of all, with coordinates of parts (P, d + W)."""
        width = self.vectors.shape[1]
        products: Float32Array = _rows(self.vectors, rows) @ wanted[:, :width].T
        if self.scales is not None:
            products *= _rows(self.scales, rows)[:, None]
        if self.shared is not None:
            products += _rows(self.shared[1], rows) @ wanted[:, width:].T
        return products

    def excess(self, wanted: Float32Array, rows: Int64Array | None) -> Float32Array:
        """Return by how much the log-odds (n, P) of adapters exceed the prior. Arguments as of `products`."""
        odds = part_log_odds(self.products(wanted, rows), self.sizes, self.coefficients)
        if self.trust is not None:  # logit(r · logistic(odds)), with r = logistic(trust)
            doubt = -_rows(self.trust, rows)[:, None]
            odds = -np.logaddexp(np.logaddexp(doubt, -odds), doubt - odds)
        excess: Float32Array = np.logaddexp(np.float32(0), odds - np.float32(PRIOR))
        return excess


def _rows(array: Float32Array, rows: Int64Array | None) -> Float32Array:
    return array if rows is None else array[rows]


@dataclass(frozen=True, slots=True)
class PartMatch:
    """A selected adapter, and the part of the prompt that fits it best beside the adapters before it."""

    position: int
    part: int
    relevance: float


class PartSearch:
    """A prompt's parts against N adapters; adapters that are used take away what they answer."""

    def __init__(self, lanes: Sequence[Lane], allowed: BoolArray) -> None:
        """Compare parts with adapters. allowed (N,): the adapters that may be found."""
        self._lanes = lanes
        known = np.logical_or.reduce([lane.members for lane in lanes], initial=False)
        self._rows = np.flatnonzero(np.broadcast_to(known, allowed.shape) & allowed)
        self._rests = [lane.wanted.copy() for lane in lanes]
        self._bases: list[list[Float32Array]] = [[] for _ in lanes]
        self._used: list[int] = []
        self._count = len(allowed)

    def log_odds(self) -> Float32Array:
        """Return the log-odds (N, P) that parts ask for what adapters do, beside those that are used.

        They are -inf for adapters that must not be found, of which nothing is known, or that are used.
        """
        number = len(self._lanes[0].sizes) if self._lanes else 0
        odds = np.full((self._count, number), -np.inf, np.float32)
        odds[self._rows] = PRIOR
        for lane, rest in zip(self._lanes, self._rests, strict=True):
            rows = self._rows[lane.members[self._rows]]
            odds[rows] += lane.excess(rest, rows if len(rows) < self._count else None)
        odds[self._used] = -np.inf
        return odds

    def product(self, position: int, part: int, lane: int = 0) -> float:
        """Return the product of an adapter with what the used ones leave of a part, in one lane."""
        return float(self._lanes[lane].axis(position) @ self._rests[lane][part])

    def use(self, position: int) -> None:
        """Take what the adapter at a position answers away from every part."""
        self._used.append(position)
        for lane, rests, basis in zip(self._lanes, self._rests, self._bases, strict=True):
            axis = lane.axis(position)
            for other in basis:
                axis = axis - (axis @ other) * other
            length = np.linalg.norm(axis)
            if length > MIN_LENGTH:
                basis.append(axis / length)
                rests -= np.outer(rests @ basis[-1], basis[-1])

    def pursue(self) -> Iterator[PartMatch]:
        """Yield adapters in the order of their selection, each with its relevance beside those before it."""
        while len(self._used) < len(self._rows):
            odds = self.log_odds()
            best, part = np.unravel_index(int(odds.argmax()), odds.shape)
            yield PartMatch(int(best), int(part), float(logistic(odds[best, part])))
            self.use(int(best))


def logistic(values: Float64Array | Float32Array) -> Float64Array:
    """Return 1 / (1 + exp(-x)) of each value, without overflow."""
    result: Float64Array = 0.5 * (1.0 + np.tanh(0.5 * np.asarray(values, np.float64)))
    return result


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
