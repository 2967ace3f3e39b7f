"""Ways to answer a prompt: by its parts, by the whole prompt with CLIP, and by the words of captions."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Protocol

import numpy as np

from autolora.matching.evidence import PartMatch, PartSearch, make_lanes, whole_prompt
from autolora.matching.words import split_words
from autolora.params import RetrievalParams
from bench.bm25 import Bm25
from bench.language.encoders import Remembered
from bench.language.pools import Captions, Pool
from bench.language.prompts import Prompt
from bench.language.variants import Reading


@dataclass(frozen=True, slots=True)
class Choice:
    """What a prompt gets."""

    first: str | None
    """theme of the first hit; None if nothing is found"""
    used: frozenset[str]
    """themes of the selected adapters"""


class Way(Protocol):
    """A way to answer prompts."""

    def prepare(self, texts: Sequence[str]) -> None:
        """Compute what the answers to these texts need."""

    def choose(self, prompt: Prompt, text: str) -> Choice:
        """Return the answer to a prompt that stands in a text."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """By the parts of a prompt (autolora.matching.language)."""

    reading: Reading
    pool: Pool
    params: RetrievalParams

    def prepare(self, texts: Sequence[str]) -> None:
        """Compute the vectors of the parts together."""
        parts = [part for text in texts for part in self.reading.split(text)]
        self.reading.encode([*parts, *texts])
        self.reading.project(parts)

    def choose(self, prompt: Prompt, text: str) -> Choice:
        """Return the first hit and the selection."""
        pool, reading = self.pool.for_prompt(prompt), self.reading.read(text)
        lanes = make_lanes(reading, pool.evidence, self.reading.language)
        matches = islice(PartSearch(lanes, pool.allowed).pursue(), self.params.max_selected)
        used = [match.position for match in takewhile(self._is_selected, matches)]
        odds = PartSearch(lanes, pool.allowed).log_odds().max(axis=1, initial=-np.inf)
        order = odds + whole_prompt(reading, pool.evidence)
        found = used or np.flatnonzero(order > -np.inf).tolist()
        first = pool.themes[max(found, key=lambda position: order[position])] if found else None
        return Choice(first, frozenset(pool.themes[position] for position in used))

    def _is_selected(self, match: PartMatch) -> bool:
        return match.relevance >= self.params.min_relevance


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """By the cosine of weights with the whole prompt, in the space of CLIP (Eq. 4 and 5); nothing is selected."""

    pool: Pool
    embed: Remembered

    def prepare(self, texts: Sequence[str]) -> None:
        """Compute the vectors of the texts."""
        self.embed(texts)

    def choose(self, prompt: Prompt, text: str) -> Choice:
        """Return the first hit by cosine."""
        pool = self.pool.for_prompt(prompt)
        assert pool.evidence.weights is not None
        cosines = np.where(pool.allowed, pool.evidence.weights @ self.embed([text])[0], -np.inf)
        return Choice(pool.themes[int(cosines.argmax())], frozenset())


class Words:
    """By BM25 of the words of captions, which says nothing about relevance."""

    def __init__(self, captions: Iterable[Captions], themes: Sequence[str]) -> None:
        """captions, themes (N,): of the adapters."""
        texts = [" ".join(text for texts in row.values() for text in texts) for row in captions]
        self._bm25, self._themes = Bm25.of([Counter(split_words(text)) for text in texts]), themes

    def prepare(self, texts: Sequence[str]) -> None:
        """Do nothing."""

    def choose(self, prompt: Prompt, text: str) -> Choice:
        """Return the first hit."""
        scores = self._bm25.score(set(split_words(text)))
        return Choice(self._themes[int(scores.argmax())] if scores.any() else None, frozenset())
