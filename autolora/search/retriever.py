"""Search for adapters by prompt, as the command line, the page, Python, the evaluation and the gate do it.

Users of Python open a collection (autolora.generation.collection), which has a retriever.
A search reads an immutable copy of the index (autolora.index.served), so a running stage never affects its results.
"""

import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from autolora.encoder.tags import TagTable, describe_tags
from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import Index
from autolora.index.names import AdapterNames
from autolora.index.served import open_index
from autolora.index.store import CAPTION, DESCRIPTION
from autolora.index.tags import open_tags
from autolora.matching.evidence import (
    MIN_LENGTH,
    Evidence,
    PartSearch,
    Reading,
    logistic,
    make_lanes,
    read_prompt,
    whole_prompt,
)
from autolora.matching.parts import EXCLUDED, negated_runs, split_runs
from autolora.matching.words import STOP_WORDS
from autolora.params import Params, RetrievalParams, load
from autolora.params.limits import check_count, check_distinct, check_prompt, check_strength
from autolora.records import Hit
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array
from autolora.storage.arrow_values import text_array
from autolora.storage.files import Row
from autolora.text_encoder.clip import NumpyTextEncoder, load_numpy_text_encoder
from autolora.text_encoder.sentences import load_saved

if TYPE_CHECKING:  # a search does not import torch
    from autolora.encoder.model import TextEncoder
    from autolora.search.reasons import Reasons
    from autolora.search.survey import Survey

Conditions = str | Sequence[str] | None
"""an SQL condition on columns of the index, several that must all hold, or none"""
MAX_CANDIDATES = 1000
"""best adapters for the prompt, among which each step of a selection chooses the most relevant"""
UNSURE_SHARE = 0.5
"""of the relevance that a selection needs, from which an adapter may fit"""
MAX_PROMPTS, MAX_FILTERS = 64, 16
"""prompts whose vectors are kept, and filters whose rows are"""
MAX_SHARING = 5
"""adapters that have a trigger word which names them: `anime` or `TOK` names none"""
MAX_TRIGGER_WORDS, MIN_TRIGGER_CHARACTERS = 8, 3
"""of a trigger word, which may be a phrase"""
MAX_LINE = 90
"""characters of the line that says what an adapter does"""
PUNCTUATION = string.punctuation + string.whitespace


@dataclass(frozen=True, slots=True)
class Judged:
    """An adapter of the index, and how well it fits a prompt."""

    position: int
    row: Row
    score: float
    """cosine with the prompt, or with its part"""
    relevance: float | None
    """None if the encoder was imported"""
    part: str | None = None


class Answer(Protocol):
    """How well the adapters of an index fit one prompt."""

    def order(self) -> NDArray[np.floating]:
        """Return what adapters (N,) are ordered by, but for those that come first; -inf for such that never appear."""

    def judge(self, positions: Sequence[int]) -> list[Judged]:
        """Return how well the adapters at these positions fit, in this order."""

    def pursue(self, mask: BoolArray | None) -> Iterator[Judged]:
        """Yield adapters in the order of their selection, each beside those before it.

        Raises MismatchError if their relevance is unknown.
        """


@dataclass(frozen=True, slots=True, eq=False)
class WholePrompt:
    """The cosines of adapters' weights with the vector of a prompt (Eq. 4 and 5), if the encoder has no language."""

    index: Index
    vector: Float32Array
    """(d,) unit vector"""

    def order(self) -> NDArray[np.floating]:
        """Return the cosines (N,)."""
        cosines: Float32Array = self.index.weights_directions @ self.vector
        return cosines

    def judge(self, positions: Sequence[int]) -> list[Judged]:
        """Return the cosines of adapters."""
        cosines = self.order()[np.array(positions, np.int64)].tolist()
        return [
            Judged(row, self.index.rows[row], cosine, None)
            for row, cosine in zip(positions, cosines, strict=True)
        ]

    def pursue(self, mask: BoolArray | None) -> Iterator[Judged]:
        """Raise MismatchError."""
        raise MismatchError(
            "the encoder has no language, by which relevance is known and adapters are selected: give the number of "
            "adapters (-k), or use an encoder with a language (encoder.language in params.yaml, `dvc repro encoder`)"
        )


class PartAnswer:
    """The log-odds of the best part of a prompt, by all evidence (autolora.matching.evidence)."""

    def __init__(self, index: Index, reading: Reading, evidence: Evidence) -> None:
        """Compare the adapters of an index that has a language with a prompt, by this evidence."""
        assert index.language is not None
        self.index, self.evidence, self._reading, self._parts = index, evidence, reading, reading.parts
        self.lanes = make_lanes(reading, evidence, index.language)

    def order(self) -> NDArray[np.floating]:
        """Return the log-odds (N,), with what the whole prompt adds."""
        return self._best + whole_prompt(self._reading, self.evidence)

    def judge(self, positions: Sequence[int]) -> list[Judged]:
        """Return how well adapters fit their best parts."""
        relevance = logistic(self._best[np.array(positions, np.int64)]).tolist()
        return [self._judged(*row) for row in zip(positions, relevance, strict=True)]

    def pursue(self, mask: BoolArray | None) -> Iterator[Judged]:
        """Yield the adapters of a pursuit in which each takes away what it answers, among the most relevant ones."""
        odds = self._best if mask is None else np.where(mask, self._best, -np.inf)
        candidates = np.zeros(len(odds), np.bool_)
        candidates[np.argsort(-odds, kind="stable")[:MAX_CANDIDATES]] = True
        allowed = candidates if mask is None else candidates & mask
        for match in PartSearch(self.lanes, allowed).pursue():
            yield self._judged(match.position, match.relevance)

    def relevance(self) -> Float64Array:
        """Return the relevance of all adapters (N,)."""
        return logistic(self._best)

    def nearest_of_parts(self, mask: BoolArray | None) -> dict[str, Judged]:
        """Return part -> the adapter that fits it best; empty if none may be found."""
        odds = self._odds if mask is None else np.where(mask[:, None], self._odds, -np.inf)
        if not len(odds):
            return {}
        positions = odds.argmax(axis=0)
        best = odds[positions, np.arange(odds.shape[1])]
        found = zip(self._parts, positions.tolist(), logistic(best).tolist(), best.tolist(), strict=True)
        return {
            part: Judged(position, self.index.rows[position], 0.0, relevance, part)
            for part, position, relevance, log_odds in found
            if log_odds > -np.inf
        }

    @cached_property
    def _odds(self) -> Float32Array:
        """The log-odds (N, P)."""
        return PartSearch(self.lanes, np.ones(len(self.index.rows), np.bool_)).log_odds()

    @cached_property
    def _best(self) -> Float32Array:
        """The log-odds of the best parts (N,)."""
        best: Float32Array = self._odds.max(axis=1, initial=-np.inf)
        return best

    def _judged(self, position: int, relevance: float) -> Judged:
        """Return an adapter with the part that it comes nearest to: the most relevant one may contain more words.

        It is the nearest by the kind of evidence that says most.
        """
        own = [lane for lane in self.lanes if lane.members[position]]
        if not own:  # nothing is known of the adapter but its name
            return Judged(position, self.index.rows[position], 0.0, 0.0)
        row = np.array([position])
        lane = max(own, key=lambda lane: float(lane.excess(lane.wanted, row).max()))
        lengths = np.linalg.norm(lane.wanted, axis=1) * np.linalg.norm(lane.axis(position))
        cosines = lane.products(lane.wanted, row)[0] / np.maximum(lengths, MIN_LENGTH)
        best = int(cosines.argmax())
        return Judged(position, self.index.rows[position], float(cosines[best]), relevance, self._parts[best])


class SearchSettings(Protocol):
    """The sections of params.yaml that searches read: a project's params, or those in a published index."""

    @property
    def retrieval(self) -> RetrievalParams:
        """Return the default of k, and the numbers of a selection."""


class NoTextEncoder:
    """The text encoder of an index whose weights no encoder has read: there is nothing to compare with."""

    digest, width = "", 0

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return vectors (N, 0)."""
        return np.zeros((len(texts), 0), np.float32)


class Retriever:
    """One index and the text encoder whose features its vectors are compared with.

    The parts of a prompt are encoded once. Any number of threads may search.
    """

    def __init__(
        self,
        index: Index,
        text_encoder: "TextEncoder",
        settings: SearchSettings,
        project: Path | None = None,
        sentences: "TextEncoder | None" = None,
    ) -> None:
        """Combine an index with a text encoder.

        project: folder with the captions that reasons are read from; None for a published index. sentences: the
        sentence encoder of the index's language; None: the one that the index has.
        Raises MismatchError if the index was built with a different text encoder.
        """
        check_text_encoder(index, text_encoder)
        self.index, self.text_encoder, self.settings = index, text_encoder, settings
        self.project, self._given_sentences = project, sentences
        self._embed = lru_cache(MAX_PROMPTS)(self._embed_prompt)
        self._read = lru_cache(MAX_PROMPTS)(self._read_prompt)
        self._mask = lru_cache(MAX_FILTERS)(index.mask)

    def with_index(self, index: Index) -> "Retriever":
        """Return a retriever of another index of the same project. Raises MismatchError as the constructor."""
        return Retriever(index, self.text_encoder, self.settings, self.project, self._given_sentences)

    @cached_property
    def names(self) -> AdapterNames:
        """The names of the adapters of the index."""
        return AdapterNames.of_index(self.index.rows.columns)

    def search(self, prompt: str, k: int | None = None, where: Conditions = None) -> list[Hit]:
        """Return k adapters: those that the prompt names, then the selected ones and the others, each best first.

        A prompt names adapters by a name or author alone, or by a trigger word that few have. Without a language no
        selected ones come before the others, which are ordered by the cosine of the whole prompt (Eq. 4 and 5). A
        prompt that only excludes finds those that it names.
        k: default `retrieval.k` in params.yaml. where: an SQL condition on columns of the index, or several that must
        all hold, e.g. "license = 'mit' and not nsfw"; adapters that do not pass are left out before the ranking.
        Raises FilterError if a condition is not valid, ValueError if k is less than 1 or not whole, or the prompt is
        empty.
        """
        count = self.settings.retrieval.k if k is None else check_count(k)
        mask = None if where is None else self.passing(where)
        answer, named = self.answer(prompt), find_named(prompt, self.index.rows.columns)
        positions = self._positions(answer, named, mask)[:count]
        if self.only_excludes(prompt):
            positions = [position for position in positions if position in named]
        found = answer.judge(positions)
        hits = zip(found, self._hits(found), strict=True)
        return [_named(hit, named.get(judged.position)) for judged, hit in hits]

    def ranking(self, prompt: str, evidence: Evidence | None = None) -> list[int]:
        """Return all positions that a search may return, in its order. evidence: as in `answer`."""
        return self._positions(
            self.answer(prompt, evidence), find_named(prompt, self.index.rows.columns), None
        )

    def _positions(self, answer: Answer, named: Iterable[int], mask: BoolArray | None) -> list[int]:
        """Return the positions of adapters: the named ones, then the selected ones and the others, each best first."""
        first = [position for position in named if mask is None or mask[position]]
        selected = [row.position for row in self._select(answer, mask, 1.0)] if self.index.language else []
        order = answer.order() if mask is None else np.where(mask, answer.order(), -np.inf)
        selected.sort(key=lambda position: -order[position])
        others = np.argsort(-order, kind="stable")
        return list(dict.fromkeys([*first, *selected, *others[order[others] > -np.inf].tolist()]))

    def select(self, prompt: str, where: Conditions = None, unsure: bool = False) -> list[Hit]:
        """Return one adapter for each thing that a prompt asks for and an adapter does; none if none fits.

        where: as in `search`. unsure: also adapters of half the relevance that is needed.
        Raises FilterError, or MismatchError if the encoder was imported, so that the relevance of adapters is unknown,
        ValueError if the prompt is empty.
        """
        mask = None if where is None else self.passing(where)
        return self._hits(self._select(self.answer(prompt), mask, UNSURE_SHARE if unsure else 1.0))

    def named(self, prompt: str, names: Sequence[str] | Mapping[str, float]) -> list[Hit]:
        """Return adapters by name, in this order; with a strength each if `names` maps names to strengths.

        They have no relevance, which counts as 1 in a generation. prompt: what their scores compare with.
        A name is the beginning of a sha256 (6 digits or more), or an id on a hub (author/name), possibly with its hub
        before and its file behind it (hub:author/name/file).
        Raises MissingArtifact if no adapter has a name, or several have it, MismatchError if a strength is not a number
        from -4 to 4, or two names are of one adapter, TypeError if `names` is not a list of texts.
        """
        if isinstance(names, str) or not isinstance(names, Sequence | Mapping):
            raise TypeError(f"expected a list of names, not {type(names).__name__}: give `['author/name']`")
        for name in names:
            self._check_has_no_strength(name)
        strengths = names if isinstance(names, Mapping) else dict.fromkeys(names, 1.0)
        return self._named(prompt, [(name, strengths[name]) for name in names])

    def choose(
        self,
        prompt: str,
        named: Sequence[tuple[str, float]] = (),
        k: int | None = None,
        where: Conditions = None,
        unsure: bool = False,
    ) -> list[Hit]:
        """Return the adapters of an image: the named ones with their strengths, else k hits, else the selection.

        unsure: as in `select`. Raises as `named`, `search` and `select`.
        """
        if named:
            return self._named(prompt, named)
        return self.select(prompt, where, unsure) if k is None else self.search(prompt, k, where)

    def reasons(self, prompt: str, hits: Sequence[Hit]) -> "list[Reasons]":
        """Return why a search for the prompt has found each hit: nearest captions, matched words, cosines.

        What cannot be determined is named in `Reasons.unavailable`.
        """
        from autolora.search.reasons import explain  # here, because a search reads no tables

        return explain(self, prompt, hits)

    def what_it_does(self, position: int) -> str:
        """Return what the adapter at a position of the index does, in a line; empty if nothing says it.

        By what its author says, else by a caption if its captions count, else by the likely tags of its weights.
        """
        row = self.index.rows[position]
        line = " · ".join(row[DESCRIPTION] or ()) or row.get(CAPTION) or ""
        if line and row["drawn"] and not row[DESCRIPTION]:
            line = f"by its drawings: {line}"
        if not line and self._tags is not None:
            weights = self.index.weights_vectors[position].astype(np.float64)
            likely = [tag for tag in self._tags.tags(weights[None])[0] if tag.is_likely]
            line = f"by the weights: {describe_tags(tuple(likely))}" if likely else ""
        if len(line) <= MAX_LINE:
            return line
        begin = line[: MAX_LINE - 1]
        return f"{begin.rpartition(' ')[0] or begin[:-1]} …"

    def describe_unread(self, prompt: str) -> str:
        """Return that the text encoder does not read all of a prompt, in a sentence; empty if it does."""
        encoder = self.text_encoder
        # the parts that a language reads are short
        if self.index.language or not isinstance(encoder, NumpyTextEncoder):
            return ""
        return encoder.tokenizer.describe_unread(prompt)

    def survey(self, prompt: str, where: Conditions = None, hits: Sequence[Hit] = ()) -> "Survey":
        """Return what of a prompt no adapter answers, what only others than these hits do, and what conditions hide."""
        from autolora.search.survey import make_survey  # which imports this module

        return make_survey(self, prompt, None if where is None else self.passing(where), hits)

    def judge(self, prompt: str, positions: Sequence[int]) -> list[Hit]:
        """Return the adapters at positions of the index as hits of a prompt, in this order."""
        return self._hits(self.answer(prompt).judge(positions))

    def passing(self, where: str | Sequence[str]) -> BoolArray:
        """Return which adapters pass all conditions (N,). Raises FilterError if one is not valid."""
        return self._mask((where,) if isinstance(where, str) else tuple(where))

    def embed(self, prompt: str) -> Float32Array:
        """Return the unit vector (d,) of a prompt. Raises ValueError or TypeError as `check_prompt`."""
        return self._embed(check_prompt(prompt))

    def embed_all(self, texts: Sequence[str]) -> Float32Array:
        """Return the unit vectors (N, d) of texts."""
        return self.index.text_map.apply(self.text_encoder.encode(texts))

    def _select(self, answer: Answer, mask: BoolArray | None, share: float) -> list[Judged]:
        """Return the adapters of a selection whose relevance is at least this share of `retrieval.min_relevance`."""
        params = self.settings.retrieval
        lowest, judged = share * params.min_relevance, islice(answer.pursue(mask), params.max_selected)
        return list(takewhile(lambda row: row.relevance is not None and row.relevance >= lowest, judged))

    def answer(self, prompt: str, evidence: Evidence | None = None) -> Answer:
        """Return how the index answers a prompt: by its parts if the encoder has a language, and else as a whole.

        evidence: of the same adapters, if some had other captions or texts; None: that of the index.
        """
        if self.index.language is None:
            return WholePrompt(self.index, self.embed(prompt))
        return PartAnswer(self.index, self._read(check_prompt(prompt)), evidence or self.index.evidence)

    def only_excludes(self, prompt: str) -> bool:
        """Return whether a prompt asks for nothing but to leave something out, as `no cat`."""
        return self.index.language is not None and bool(negated_runs(prompt)) and not split_runs(prompt)

    def parts(self, prompt: str) -> PartAnswer:
        """Return how an index with a language answers a prompt."""
        answer = self.answer(prompt)
        assert isinstance(answer, PartAnswer)
        return answer

    def _read_prompt(self, prompt: str) -> Reading:
        index = self.index
        assert index.language is not None

        def project(texts: Sequence[str]) -> Float32Array:
            return index.text_map.project(self.text_encoder.encode(texts))

        return read_prompt(prompt, index.language, self._sentences.encode, project)

    @cached_property
    def _tags(self) -> TagTable | None:
        return open_tags(self.project, self.index) if self.project and self.index.has_weights else None

    @cached_property
    def _sentences(self) -> "TextEncoder":
        """The sentence encoder of the index's language."""
        if self._given_sentences:
            return self._given_sentences
        assert self.index.language_folder is not None
        return load_saved(self.index.language_folder)

    def _embed_prompt(self, prompt: str) -> Float32Array:
        vector: Float32Array = self.embed_all([prompt])[0]
        vector.setflags(write=False)
        return vector

    def _named(self, prompt: str, names: Sequence[tuple[str, float]]) -> list[Hit]:
        """Return the adapters with these names and strengths; errors as `named`."""
        positions = [self.names.find_one(name) for name, _ in names]
        judged = self.answer(prompt).judge(positions)
        hits = self._hits([replace(row, relevance=None, part=None) for row in judged])
        check_distinct([hit.sha256 for hit in hits], [f"{hit.hub}:{hit.id}" for hit in hits])
        return [strengthen(hit, strength) for hit, (_, strength) in zip(hits, names, strict=True)]

    def _check_has_no_strength(self, name: object) -> None:
        """Raise TypeError if a name is not a text, MissingArtifact if it ends in a strength, as on the command line."""
        if not isinstance(name, str):
            raise TypeError(
                f"expected names of adapters, but there is a name of type {type(name).__name__}: give texts"
            )
        before, _, number = name.rpartition(":")
        find = self.names.find_all
        if find(before) and not find(name):
            raise MissingArtifact(
                f"no adapter is called '{name}': give a name with its strength as a mapping, `{{'{before}': {number}}}`"
            )

    def _hits(self, judged: Iterable[Judged]) -> list[Hit]:
        """Return judged adapters as hits, in this order."""
        return [self._hit(rank, row) for rank, row in enumerate(judged, start=1)]

    def _hit(self, rank: int, judged: Judged) -> Hit:
        row = judged.row
        return Hit(
            rank=rank,
            score=judged.score,
            relevance=judged.relevance,
            sha256=row["sha256"],
            hub=row["hub"],
            id=row["id"],
            file=row["file"],
            license=row["license"],
            nsfw=row["nsfw"],
            trigger_words=tuple(row["trigger_words"]),
            description=tuple(row[DESCRIPTION] or ()),
            index=self.index.digest,
            part=judged.part,
        )


def open_retriever(root: Path | str, rev: str | None = None, params: Params | None = None) -> Retriever:
    """Return a retriever of the served index, or of a git revision's, with the text encoder of params.yaml.

    root: the root of the repository. params: its params.yaml, if that has been read. Raises ParamsError if there is
    no params.yaml, MissingArtifact if there is no index or text encoder, MismatchError if the index was built with a
    different text encoder.
    """
    root = Path(root)
    params = params or load(root / "params.yaml")
    index = open_index(root, rev)
    text_encoder = (
        load_numpy_text_encoder(root, params.models, index.tokenizers)
        if index.has_weights
        else NoTextEncoder()
    )
    return Retriever(index, text_encoder, params, root)


def check_text_encoder(index: Index, text_encoder: "TextEncoder") -> None:
    """Raise MismatchError if an index was built with a different text encoder."""
    actual = (text_encoder.digest, text_encoder.width)
    if actual != (index.text_encoder, index.text_map.width):
        raise MismatchError(
            f"index {index.digest[:12]} was built with text encoder {index.text_encoder[:12]} of width "
            f"{index.text_map.width}, but models.pipeline has {actual[0][:12]} of width {actual[1]}: "
            "set models.pipeline in params.yaml to the pipeline that the index was built with, or run `dvc repro`"
        )


def strengthen(hit: Hit, strength: float) -> Hit:
    """Return a hit with a strength; one that adds nothing, or is subtracted, has no words for the prompt.

    Raises MismatchError as `check_strength`.
    """
    factor = check_strength(hit.id, strength)
    return replace(hit, strength=factor, trigger_words=hit.trigger_words if factor > 0 else ())


def _named(hit: Hit, exact: str | None) -> Hit:
    """Return a hit; one that the prompt names without what its vector says of the prompt."""
    return hit if exact is None else replace(hit, exact=exact, relevance=None, part=None)


def find_named(prompt: str, columns: pa.Table) -> dict[int, str]:
    """Return position -> what of an adapter the prompt contains, e.g. `trigger word enxq`: names before trigger words.

    A name of the adapter, its file or its author counts if it is the whole prompt, a trigger word also among other
    words. The case of letters does not count. columns: `hub`, `id`, `file` and `trigger_words` of N adapters.
    """
    trigger_words = _find_trigger_words(EXCLUDED.sub("\n", prompt), columns)
    return _find_names(prompt.strip().lower(), columns) | {
        position: f"trigger word {word}"
        for word, positions in trigger_words.items()
        for position in positions
    }


def _find_names(name: str, columns: pa.Table) -> dict[int, str]:
    """Return the adapters of this name, or, if there is none, of the author of this name."""
    columns, last = columns.select(["hub", "id", "file"]), name.rpartition(":")[2]
    contains = [pc.match_substring(columns[column], last, ignore_case=True) for column in ("id", "file")]
    positions = pc.indices_nonzero(pc.or_(*contains))  # of few: forms of all names take as long as a prompt
    hubs, *others = columns.take(positions).columns
    ids, files = (pc.utf8_lower(column.combine_chunks()) for column in others)
    file_names = _without(r"^.*/", files)
    forms = (
        pc.binary_join_element_wise(hubs.combine_chunks(), ids, text_array([":"])[0]),
        ids,
        _without(r"^.*/", ids),
        file_names,
        _without(r"\.[a-z]+$", file_names),
    )
    named = {position for form in forms for position in _equal(form, name, positions)}
    if named:
        return dict.fromkeys(sorted(named), "name")
    return dict.fromkeys(_equal(_without(r"/.*$|^[^/]*$", ids), name, positions), f"author {name}")


def _find_trigger_words(prompt: str, columns: pa.Table) -> dict[str, list[int]]:
    """Return trigger word -> the adapters that have it, for those in the prompt that few adapters have."""
    words = [word for text in prompt.lower().split() if (word := text.strip(PUNCTUATION))]
    runs = {
        " ".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, min(first + MAX_TRIGGER_WORDS, len(words)) + 1)
    }
    excluded = [f" {run.lower()} " for run in negated_runs(prompt)]
    runs = {run for run in runs - STOP_WORDS if len(run) >= MIN_TRIGGER_CHARACTERS}
    runs = {run for run in runs if not any(f" {run} " in text for text in excluded)}
    lists = columns.column("trigger_words").combine_chunks()
    texts = pc.utf8_trim(pc.utf8_lower(pc.list_flatten(lists)), PUNCTUATION)
    found = pc.is_in(texts, value_set=text_array(runs))
    adapters = defaultdict[str, set[int]](set)
    pairs = zip(
        texts.filter(found).to_pylist(), pc.list_parent_indices(lists).filter(found).to_pylist(), strict=True
    )
    for word, position in pairs:
        adapters[word].add(position)
    rare = sorted(adapters, key=lambda word: (len(adapters[word]), word))
    return {word: sorted(adapters[word]) for word in rare if len(adapters[word]) <= MAX_SHARING}


def _without(pattern: str, texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, pattern, "")


def _equal(texts: pa.Array, text: str, positions: pa.Array) -> list[int]:
    """Return the positions of the texts that are equal to another one."""
    found: list[int] = positions.filter(pc.is_in(texts, value_set=text_array([text]))).to_pylist()
    return found
