"""Search for adapters by prompt (Eq. 4-5), as the command line, the page and Python do it.

Users of Python open a collection (autolora.generation.collection), which has a retriever.
A search reads an immutable copy of the index (autolora.index.served), so a running stage never affects its results.
"""

import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import Index
from autolora.index.names import AdapterNames
from autolora.index.served import open_index
from autolora.matching.selection import Candidates, select
from autolora.matching.words import STOP_WORDS
from autolora.params import Params, RetrievalParams, load
from autolora.params.limits import check_count, check_distinct, check_prompt, check_strength
from autolora.records import Hit
from autolora.storage.arrays import BoolArray, Float32Array, Int64Array
from autolora.storage.files import Row
from autolora.text_encoder.clip import load_numpy_text_encoder

if TYPE_CHECKING:  # a search does not import torch
    from autolora.encoder.model import TextEncoder
    from autolora.search.reasons import Reasons

Conditions = str | Sequence[str] | None
"""an SQL condition on columns of the index, several that must all hold, or none"""
MAX_CANDIDATES = 1000
"""nearest adapters among which each step of a selection chooses the most relevant"""
MAX_PROMPTS, MAX_FILTERS = 64, 16
"""prompts whose vectors are kept, and filters whose rows are"""
MAX_SHARING = 5
"""adapters that have a trigger word which names them: `anime` or `TOK` names none"""
MAX_TRIGGER_WORDS, MIN_TRIGGER_CHARACTERS = 8, 3
"""of a trigger word, which may be a phrase"""
PUNCTUATION = string.punctuation + string.whitespace


class SearchSettings(Protocol):
    """The sections of params.yaml that searches read: a project's params, or those in a published index."""

    @property
    def retrieval(self) -> RetrievalParams:
        """Return the default of k, and the numbers of a selection."""


class Retriever:
    """One index and the text encoder whose features its vectors are compared with.

    A prompt is checked and encoded once, for its hits and for their reasons. Any number of threads may search.
    """

    def __init__(
        self, index: Index, text_encoder: "TextEncoder", settings: SearchSettings, project: Path | None = None
    ) -> None:
        """Combine an index with a text encoder.

        project: folder with the captions that reasons are read from; None for a published index.
        Raises MismatchError if the index was built with a different text encoder.
        """
        check_text_encoder(index, text_encoder)
        self.index, self.text_encoder, self.settings = index, text_encoder, settings
        self.project = project
        self._embed = lru_cache(MAX_PROMPTS)(self._embed_prompt)
        self._mask = lru_cache(MAX_FILTERS)(index.mask)

    def with_index(self, index: Index) -> "Retriever":
        """Return a retriever of another index of the same project. Raises MismatchError as the constructor."""
        return Retriever(index, self.text_encoder, self.settings, self.project)

    @cached_property
    def names(self) -> AdapterNames:
        """The names of the adapters of the index."""
        return AdapterNames.of_index(self.index.rows.columns)

    @cached_property
    def _uses_captions(self) -> BoolArray:
        return self.index.uses_captions

    def search(self, prompt: str, k: int | None = None, where: Conditions = None) -> list[Hit]:
        """Return k adapters: those that the prompt names, then those with the highest cosine, well fitting or not.

        A prompt names adapters by a name or author alone, or by a trigger word that few have. Cosines: Eq. 4 and 5.
        k: default `retrieval.k` in params.yaml. where: an SQL condition on columns of the index, or several that must
        all hold, e.g. "license = 'mit' and not nsfw"; adapters that do not pass are left out before the ranking.
        Raises FilterError if a condition is not valid, ValueError if k is less than 1 or not whole, or the prompt is
        empty.
        """
        count = self.settings.retrieval.k if k is None else check_count(k)
        mask = None if where is None else self.passing(where)
        vector = self.embed(prompt)
        positions, cosines = self.index.nearest(vector, count, mask)
        named = find_named(prompt, self.index.rows.columns)
        exact = {position: text for position, text in named.items() if mask is None or mask[position]}
        if exact:
            positions = np.array(list(dict.fromkeys([*exact, *positions.tolist()]))[:count], np.int64)
            cosines = self.index.vectors[positions] @ vector
        hits = zip(positions.tolist(), self._hits(positions, cosines), strict=True)
        return [replace(hit, exact=exact.get(position)) for position, hit in hits]

    def select(self, prompt: str, where: Conditions = None) -> list[Hit]:
        """Return one adapter for each thing that a prompt asks for and an adapter does; none if none fits.

        where: as in `search`. Raises FilterError, or MismatchError if the encoder was imported, so that the relevance
        of adapters is unknown, ValueError if the prompt is empty.
        """
        index, params = self.index, self.settings.retrieval
        mask = None if where is None else self.passing(where)
        if index.relevance is None:
            raise MismatchError(
                "the encoder was imported, and only a training fits the relevance by which adapters are selected: give "
                "the number of adapters (-k), or train an encoder (`dvc repro encoder`)"
            )
        matches = select(
            self.embed(prompt).astype(np.float64),
            Candidates(
                index.vectors,
                self._uses_captions,
                lambda wanted: index.nearest(wanted.astype(np.float32), MAX_CANDIDATES, mask),
            ),
            index.relevance,
            params.max_selected,
            params.min_relevance,
        )
        return [
            self._hit(rank, index.rows[match.position], match.cosine, match.rank_value)
            for rank, match in enumerate(matches, start=1)
        ]

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
    ) -> list[Hit]:
        """Return the adapters of an image: the named ones with their strengths, else k hits, else the selection.

        Raises as `named`, `search` and `select`.
        """
        if named:
            return self._named(prompt, named)
        return self.select(prompt, where) if k is None else self.search(prompt, k, where)

    def reasons(self, prompt: str, hits: Sequence[Hit]) -> "list[Reasons]":
        """Return why a search for the prompt has found each hit: nearest captions, matched words, cosines.

        What cannot be determined is named in `Reasons.unavailable`.
        """
        from autolora.search.reasons import explain  # here, because a search reads no tables

        return explain(self, prompt, hits)

    def judge(self, prompt: str, positions: Sequence[int]) -> list[Hit]:
        """Return the adapters at positions of the index as hits of a prompt, in this order."""
        vectors: Float32Array = self.index.vectors[list(positions)]
        return self._hits(np.array(positions, np.int64), vectors @ self.embed(prompt))

    def passing(self, where: str | Sequence[str]) -> BoolArray:
        """Return which adapters pass all conditions (N,). Raises FilterError if one is not valid."""
        return self._mask((where,) if isinstance(where, str) else tuple(where))

    def scores(self, prompt: str) -> Float32Array:
        """Return the cosines (N,) of a prompt with all adapters of the index (Eq. 4)."""
        cosines: Float32Array = self.index.vectors @ self.embed(prompt)
        return cosines

    def embed(self, prompt: str) -> Float32Array:
        """Return the unit vector (d,) of a prompt. Raises ValueError or TypeError as `check_prompt`."""
        return self._embed(check_prompt(prompt))

    def embed_all(self, texts: Sequence[str]) -> Float32Array:
        """Return the unit vectors (N, d) of texts."""
        return self.index.text_map.apply(self.text_encoder.encode(texts))

    def _embed_prompt(self, prompt: str) -> Float32Array:
        vector: Float32Array = self.embed_all([prompt])[0]
        vector.setflags(write=False)
        return vector

    def _named(self, prompt: str, names: Sequence[tuple[str, float]]) -> list[Hit]:
        """Return the adapters with these names and strengths; errors as `named`."""
        positions = [self.names.find_one(name) for name, _ in names]
        cosines = self.index.vectors[positions] @ self.embed(prompt)
        hits = [
            self._hit(rank, self.index.rows[position], cosine, relevance=None)
            for rank, (position, cosine) in enumerate(zip(positions, cosines.tolist(), strict=True), start=1)
        ]
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

    def _hits(self, positions: Int64Array, cosines: Float32Array) -> list[Hit]:
        """Return the adapters at these positions (k,) as hits, given their cosines (k,) with the whole prompt."""
        rows, scores = (
            [self.index.rows[position] for position in positions.tolist()],
            cosines.astype(np.float64),
        )
        relevance: Sequence[float | None] = [None] * len(rows)
        if self.index.relevance is not None:
            uses_captions = np.array([bool(row["uses_captions"]) for row in rows], np.bool_)
            relevance = self.index.relevance.probabilities(scores, uses_captions, remainder=0.0).tolist()
        found = zip(rows, scores.tolist(), relevance, strict=True)
        return [self._hit(rank, *hit) for rank, hit in enumerate(found, start=1)]

    def _hit(self, rank: int, row: Row, score: float, relevance: float | None) -> Hit:
        return Hit(
            rank=rank,
            score=score,
            relevance=relevance,
            sha256=row["sha256"],
            hub=row["hub"],
            id=row["id"],
            file=row["file"],
            license=row["license"],
            nsfw=row["nsfw"],
            trigger_words=tuple(row["trigger_words"]),
            index=self.index.digest,
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
    text_encoder = load_numpy_text_encoder(root, params.models, index.tokenizers)
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


def find_named(prompt: str, columns: pa.Table) -> dict[int, str]:
    """Return position -> what of an adapter the prompt contains, e.g. `trigger word enxq`: names before trigger words.

    A name of the adapter, its file or its author counts if it is the whole prompt, a trigger word also among other
    words. The case of letters does not count. columns: `hub`, `id`, `file` and `trigger_words` of N adapters.
    """
    trigger_words = _find_trigger_words(prompt, columns)
    return _find_names(prompt.strip().lower(), columns) | {
        position: f"trigger word {word}"
        for word, positions in trigger_words.items()
        for position in positions
    }


def _find_names(name: str, columns: pa.Table) -> dict[int, str]:
    """Return the adapters of this name, or, if there is none, of the author of this name."""
    ids, files = (pc.utf8_lower(columns.column(column).combine_chunks()) for column in ("id", "file"))
    file_names = _without(r"^.*/", files)
    forms = (
        pc.binary_join_element_wise(columns.column("hub").combine_chunks(), ids, ":"),
        ids,
        _without(r"^.*/", ids),
        file_names,
        _without(r"\.[a-z]+$", file_names),
    )
    named = {position for form in forms for position in _equal(form, name)}
    if named:
        return dict.fromkeys(sorted(named), "name")
    has_author = pc.match_substring(ids, "/")
    authors = pc.if_else(has_author, _without(r"/.*$", ids), pa.scalar(None, pa.string()))
    return dict.fromkeys(_equal(authors, name), f"author {name}")


def _find_trigger_words(prompt: str, columns: pa.Table) -> dict[str, list[int]]:
    """Return trigger word -> the adapters that have it, for those in the prompt that few adapters have."""
    words = [word for text in prompt.lower().split() if (word := text.strip(PUNCTUATION))]
    runs = {
        " ".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, min(first + MAX_TRIGGER_WORDS, len(words)) + 1)
    }
    runs = {run for run in runs - STOP_WORDS if len(run) >= MIN_TRIGGER_CHARACTERS}
    lists = columns.column("trigger_words").combine_chunks()
    texts = pc.utf8_trim(pc.utf8_lower(pc.list_flatten(lists)), PUNCTUATION)
    found = pc.is_in(texts, value_set=pa.array(sorted(runs), pa.string()))
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


def _equal(texts: pa.Array, text: str) -> list[int]:
    positions: list[int] = pc.indices_nonzero(pc.equal(texts, text).fill_null(False)).to_pylist()
    return positions
