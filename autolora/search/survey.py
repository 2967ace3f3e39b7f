"""What a search says beside its hits: what of the prompt each answers, what none answers, and what filters hide."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pyarrow.compute as pc

from autolora.index.copies import Index
from autolora.index.store import CAPTION
from autolora.matching.parts import negated_runs, split_runs
from autolora.matching.shared_words import word_forms
from autolora.matching.words import split_words
from autolora.records import Hit
from autolora.search.retriever import UNSURE_SHARE, Judged, PartAnswer, Retriever, find_named
from autolora.storage.arrays import BoolArray
from autolora.storage.suggestions import similar_word
from autolora.text_encoder.spelling import one_spelling
from autolora.wording import counted

TRIGGER_WORD = "trigger word "
"""what `find_named` puts before a trigger word"""
NAMED, LESS_LIKELY = "named by the prompt", "less likely"
WITHOUT_WEIGHTS = "found by names, headers, sidecars and captions: no encoder has read what the weights do"
NOTHING_FOUND = "nothing of the prompt was found: no adapter does it, or the prompt is not in English"
ONLY_EXCLUDES = "the prompt only excludes: write what an adapter should do"
NO_RELEVANCE = 0.055
"""below it nothing speaks for an adapter: a little more than by the prior (autolora.matching.evidence.PRIOR)"""
MIN_LETTERS = 4
"""of a word that may be misspelt"""
MAX_NAMED = 3
"""unanswered parts that are named"""
MAX_PERHAPS = 5
"""adapters that are known by their weights alone, which find the right one among five much oftener than first"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unanswered:
    """A part of a prompt that no adapter answers, and the one that comes nearest to it, or to words of it."""

    part: str
    nearest: str
    """hub:author/name"""
    relevance: float

    @property
    def line(self) -> str:
        """Return the part, and the nearest adapter unless it is not near at all."""
        is_near = self.relevance >= NO_RELEVANCE
        nearest = f" (nearest: {self.nearest}, {self.relevance:.2f})" if is_near else ""
        return f"nothing clearly fits: {self.part}{nearest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a prompt gets beside the hits; nothing without a language, by which whole prompts are compared."""

    unanswered: tuple[Unanswered, ...] = ()
    """the parts to which an adapter comes nearest first"""
    further: tuple[str, ...] = ()
    """parts that only adapters beside the hits answer"""
    hidden: tuple[str, ...] = ()
    """parts that only adapters answer that do not pass the conditions"""
    num_hidden: int = 0
    """adapters that fit, and do not pass the conditions"""
    meant: tuple[tuple[str, str], ...] = ()
    """words that no text and no typical caption has, each with one that resembles it"""
    negated: tuple[str, ...] = ()
    """what the prompt does not want, which a search leaves out"""
    only_excludes: bool = False
    """whether the prompt asks for nothing else"""
    has_weights: bool = True
    """whether an encoder has read the weights"""
    finds_nothing: bool = False
    """whether no adapter at all answers a part of the prompt, not even unlikely"""
    perhaps: tuple[str, ...] = ()
    """if none fits surely: hub:author/name of adapters that weights alone speak for, nearest first"""

    @property
    def lines(self) -> list[str]:
        """Return what the survey says, one fact per line."""
        lines = [row.line for row in self.unanswered[:MAX_NAMED]]
        if others := self.unanswered[MAX_NAMED:]:
            lines.append(f"nor {counted(len(others), 'other part')} of the prompt")
        lines += [
            f"nothing says '{word}' (did you mean '{other}'?)" for word, other in self.meant[:MAX_NAMED]
        ]
        if self.finds_nothing:
            lines.append(NOTHING_FOUND)
        if self.perhaps:
            lines.append(f"perhaps, by their weights: {', '.join(self.perhaps)}")
        if self.further:
            lines.append(f"further hits may fit: {', '.join(self.further)}")
        lines += self.hidden_lines
        lines += self.negated_lines
        if self.only_excludes:
            lines.append(ONLY_EXCLUDES)
        if not self.has_weights:
            lines.append(WITHOUT_WEIGHTS)
        return lines

    @property
    def negated_lines(self) -> list[str]:
        """Return the line about what the prompt excludes, if it does."""
        return [f"left out, as negated: {', '.join(self.negated)}"] if self.negated else []

    @property
    def hidden_lines(self) -> list[str]:
        """Return the line about adapters that the conditions hide, if there are any."""
        if not self.num_hidden:
            return []
        parts = f", for: {', '.join(self.hidden)}" if self.hidden else ""
        return [f"hidden by the filters: {counted(self.num_hidden, 'adapter')} that would fit{parts}"]


def group_hits(hits: Sequence[Hit], min_relevance: float) -> list[tuple[str, list[Hit]]]:
    """Return hits by the part of the prompt that they answer, with the heading of each group.

    The groups are in the order of their first hits. Hits that may not even fit come last, if others do. Without parts
    there is one group without a heading.
    """
    if not any(hit.part for hit in hits):
        return [("", list(hits))] if hits else []
    groups: dict[str, list[Hit]] = {}
    for hit in hits:
        groups.setdefault(_heading(hit, UNSURE_SHARE * min_relevance), []).append(hit)
    last = {LESS_LIKELY: groups.pop(LESS_LIKELY)} if LESS_LIKELY in groups else {}
    return list((groups | last).items())


def _heading(hit: Hit, lowest: float) -> str:
    if hit.exact or hit.part is None:
        return NAMED
    return f"for: {hit.part}" if (hit.relevance or 0) >= lowest else LESS_LIKELY


def make_survey(retriever: Retriever, prompt: str, mask: BoolArray | None, hits: Sequence[Hit]) -> Survey:
    """Return the survey of a prompt among the adapters that pass a mask (N,). hits: that are shown."""
    index = retriever.index
    if index.language is None:
        return Survey()
    if retriever.only_excludes(prompt):
        return Survey(negated=negated_runs(prompt), only_excludes=True)
    answer, lowest = retriever.parts(prompt), retriever.settings.retrieval.min_relevance
    shown = np.zeros(len(index.rows), np.bool_)
    shown[index.find([hit.sha256 for hit in hits])] = True
    nearest = answer.nearest_of_parts(mask)
    named = _named_words(answer, prompt, mask)
    by_hits, by_passing, by_all = (
        named | _answered_words(answer, found, UNSURE_SHARE * lowest)
        for found in (answer.nearest_of_parts(shown), nearest, answer.nearest_of_parts(None))
    )
    unanswered = [
        Unanswered(part=part, nearest=f"{row.row['hub']}:{row.row['id']}", relevance=_relevance(row))
        for part in _pieces(prompt, lambda word: word not in by_all)
        if (row := _nearest_of(part, nearest)) and _relevance(row) < lowest
    ]
    hidden = 0 if mask is None else int((answer.relevance() >= lowest)[~mask].sum())
    finds_nothing = (
        bool(unanswered) and not by_all and max(row.relevance for row in unanswered) < NO_RELEVANCE
    )
    return Survey(
        unanswered=tuple(sorted(unanswered, key=lambda row: -row.relevance)),
        further=tuple(_pieces(prompt, lambda word: word in by_passing - by_hits)),
        hidden=tuple(_pieces(prompt, lambda word: word in by_all - by_passing)),
        num_hidden=hidden,
        meant=tuple(_find_meant(index, [row.part for row in unanswered])),
        negated=negated_runs(prompt),
        has_weights=index.has_weights,
        finds_nothing=finds_nothing,
        perhaps=() if named or finds_nothing else _perhaps(retriever, prompt, answer, mask),
    )


def _perhaps(
    retriever: Retriever, prompt: str, answer: PartAnswer, mask: BoolArray | None
) -> tuple[str, ...]:
    """Return the names of adapters that weights alone speak for, nearest to a prompt first, if no adapter is sure."""
    index, evidence = retriever.index, retriever.index.evidence
    passing = np.ones(len(index.rows), np.bool_) if mask is None else mask
    relevance = answer.relevance()
    is_sure = (relevance >= retriever.settings.retrieval.min_relevance) & passing
    unknown = passing & ~evidence.has_captions & ~evidence.has_texts & (relevance >= NO_RELEVANCE)
    if not index.has_weights or is_sure.any() or not unknown.any():
        return ()
    rows, _ = index.nearest_by_weights(retriever.embed(prompt), MAX_PERHAPS, unknown)
    return tuple(f"{row['hub']}:{row['id']}" for row in (index.rows[int(at)] for at in rows))


def _nearest_of(piece: str, nearest: Mapping[str, Judged]) -> Judged | None:
    """Return the adapter that a search for a piece of a prompt has first, given those nearest to the prompt's parts."""
    within = [row for part, row in nearest.items() if f" {part} " in f" {piece} "]
    return max(within, key=_relevance, default=None)


def _answered_words(answer: PartAnswer, nearest: Mapping[str, Judged], lowest: float) -> set[str]:
    """Return the words that adapters answer, given those that fit the parts best: of what each comes nearest to."""
    positions = {row.position for row in nearest.values() if _relevance(row) >= lowest}
    return {word for row in answer.judge(sorted(positions)) for word in split_words(row.part or "")}


def _pieces(prompt: str, is_wanted: Callable[[str], bool]) -> Iterator[str]:
    """Yield the longest pieces of a prompt's runs whose words are all wanted."""
    for run in split_runs(prompt):
        for wanted, words in groupby(run.split(), lambda word: all(map(is_wanted, split_words(word)))):
            piece = " ".join(words)
            if wanted and any(character.isalpha() for character in piece):
                yield piece


def _find_meant(index: Index, parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word of the parts that no text or typical caption has, with the one that resembles it most."""
    known = set(pc.unique(pc.list_flatten(index.words)).to_pylist())
    captions = index.rows.columns[CAPTION].drop_null().to_pylist()
    known.update(word for text in captions for word in split_words(one_spelling(text)))
    words = dict.fromkeys(word for part in parts for word in split_words(one_spelling(part)))
    for word in words:
        is_said = word in known or known.issuperset(word_forms(word))
        if len(word) >= MIN_LETTERS and not is_said and (other := similar_word(word, known)):
            yield word, other


def _named_words(answer: PartAnswer, prompt: str, mask: BoolArray | None) -> set[str]:
    """Return the words of a prompt that name adapters: those of trigger words; all of a name or author."""
    named = find_named(prompt, answer.index.rows.columns).items()
    said = {text for position, text in named if mask is None or mask[position]}
    names = (text.removeprefix(TRIGGER_WORD) if text.startswith(TRIGGER_WORD) else prompt for text in said)
    return {word for name in names for word in split_words(name)}


def _relevance(judged: Judged) -> float:
    assert judged.relevance is not None
    return judged.relevance
