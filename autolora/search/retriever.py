"""Search for adapters by prompt (Eq. 4-5).

Users of Python open a collection (autolora.generation.collection), which has a retriever.
A search reads an immutable copy of the index (autolora.index.served), so a running stage never affects its results.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolora.errors import MismatchError
from autolora.index.copies import Index
from autolora.index.names import AdapterNames
from autolora.index.served import open_index
from autolora.matching.selection import Candidates, select
from autolora.params import ModelsParams, RetrievalParams, load
from autolora.params.limits import check_strength
from autolora.records import Hit
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from autolora.storage.validation import is_unicode
from autolora.text_encoder.clip import load_numpy_text_encoder

if TYPE_CHECKING:  # a search does not import torch
    from autolora.encoder.model import TextEncoder

Conditions = str | Sequence[str] | None
"""an SQL condition on columns of the index, several that must all hold, or none"""
MAX_CANDIDATES = 1000
"""nearest adapters among which each step of a selection chooses the most relevant"""
MAX_PROMPTS = 64
"""prompts whose vectors are kept"""


class Retriever:
    """One index and the text encoder whose features its vectors are compared with."""

    def __init__(self, index: Index, text_encoder: "TextEncoder") -> None:
        """Combine an index with a text encoder.

        Raises MismatchError if the index was built with a different text encoder.
        """
        actual = (text_encoder.digest, text_encoder.width)
        if actual != (index.text_encoder, index.text_map.width):
            raise MismatchError(
                f"index {index.digest[:12]} was built with text encoder {index.text_encoder[:12]} of width "
                f"{index.text_map.width}, but models.pipeline has {actual[0][:12]} of width {actual[1]}: "
                "set models.pipeline in params.yaml to the pipeline that the index was built with, or run `dvc repro`"
            )
        self.index = index
        self.text_encoder = text_encoder
        self._embed = lru_cache(MAX_PROMPTS)(self._embed_prompt)

    @cached_property
    def uses_captions(self) -> BoolArray:
        """Whether the vector of each adapter of the index contains captions (N,)."""
        return self.index.uses_captions

    @cached_property
    def names(self) -> AdapterNames:
        """The names of the adapters of the index."""
        return AdapterNames.of_index(self.index.rows.columns)

    def search(self, prompt: str, k: int, where: Conditions = None) -> list[Hit]:
        """Return the k adapters with the highest cosine to the prompt, best first (Eq. 5).

        where: an SQL condition on columns of the index, or several; adapters that do not pass all are left out before
        the ranking.
        Raises FilterError if it is not valid.
        """
        positions, cosines = self.nearest(prompt, k, where)
        return self.hits(positions, cosines.astype(np.float64))

    def nearest(self, prompt: str, k: int, where: Conditions = None) -> tuple[Int64Array, Float32Array]:
        """Return the positions of the hits of `search` in the index, best first, and their cosines to the prompt."""
        return self.index.nearest(self.embed(prompt), k, self._mask(where))

    def select(self, prompt: str, params: RetrievalParams, where: Conditions = None) -> list[Hit]:
        """Return the adapters that a prompt asks for, one for each thing that one of them does; none if none fits.

        where: as in `search`. Raises FilterError if it is not valid, MismatchError if the encoder was imported, so that
        the relevance of adapters is unknown.
        """
        index, mask = self.index, self._mask(where)
        if index.relevance is None:
            raise MismatchError(
                "the encoder was imported, and only a training fits the relevance by which adapters are selected: give "
                "the number of adapters (-k), or train an encoder (`dvc repro encoder`)"
            )
        matches = select(
            self.embed(prompt).astype(np.float64),
            Candidates(
                index.vectors,
                self.uses_captions,
                lambda wanted: index.nearest(wanted.astype(np.float32), MAX_CANDIDATES, mask),
            ),
            index.relevance,
            params.max_selected,
            params.min_relevance,
        )
        return [
            _hit(index, rank, match.position, match.cosine, match.rank_value)
            for rank, match in enumerate(matches, start=1)
        ]

    def named(self, prompt: str, names: Sequence[str]) -> list[Hit]:
        """Return the adapters with these names, in this order, whether they fit the prompt or not.

        They have no relevance, which counts as 1 in a generation.
        A name is the beginning of a sha256 (6 digits or more), or an id on a hub (author/name), possibly with its hub
        before and its file behind it (hub:author/name/file). Raises MissingArtifact if no adapter of the index has a
        name, or several have it, TypeError if a name is not a text.
        """
        if wrong := [type(name).__name__ for name in names if not isinstance(name, str)]:
            raise TypeError(f"expected names of adapters, but there is a name of type {wrong[0]}: give texts")
        positions = [self.names.find_one(name) for name in names]
        cosines = self.index.vectors[positions] @ self.embed(prompt)
        found = zip(positions, cosines.tolist(), strict=True)
        return [_hit(self.index, rank, *hit, relevance=None) for rank, hit in enumerate(found, start=1)]

    def scores(self, prompt: str) -> Float32Array:
        """Return the cosines (N,) of a prompt with all adapters of the index (Eq. 4)."""
        cosines: Float32Array = self.index.vectors @ self.embed(prompt)
        return cosines

    def embed(self, prompt: str) -> Float32Array:
        """Return the unit vector (d,) of a prompt, which is encoded once for hits and their reasons."""
        return self._embed(prompt)

    def _embed_prompt(self, prompt: str) -> Float32Array:
        vector: Float32Array = self.embed_all([prompt])[0]
        vector.setflags(write=False)
        return vector

    def embed_all(self, texts: Sequence[str]) -> Float32Array:
        """Return the unit vectors (N, d) of texts. Raises ValueError if a text is not valid Unicode."""
        for text in texts:
            if not is_unicode(text):
                raise ValueError(f"{text!r} is not valid Unicode: remove the halves of surrogate pairs")
        return self.index.text_map.apply(self.text_encoder.encode(texts))

    def hits(self, positions: Int64Array, cosines: Float64Array) -> list[Hit]:
        """Return the adapters at these positions (k,) as hits, given their cosines (k,) with the whole prompt."""
        index = self.index
        relevance: Sequence[float | None] = [None] * len(positions)
        if index.relevance is not None:
            uses_captions = self.uses_captions[positions]
            relevance = index.relevance.probabilities(cosines, uses_captions, remainder=0.0).tolist()
        found = zip(positions.tolist(), cosines.tolist(), relevance, strict=True)
        return [_hit(index, rank, *hit) for rank, hit in enumerate(found, start=1)]

    def _mask(self, where: Conditions) -> BoolArray | None:
        if where is None:
            return None
        return self.index.mask([where] if isinstance(where, str) else where)


def open_retriever(root: Path | str, rev: str | None = None, models: ModelsParams | None = None) -> Retriever:
    """Return a retriever of the served index, or of a git revision's, with the text encoder of params.yaml.

    root: the root of the repository. models: of its params.yaml, if that has been read. Raises ParamsError if there is
    no params.yaml, MissingArtifact if there is no index or text encoder, MismatchError if the index was built with a
    different text encoder.
    """
    root = Path(root)
    models = models or load(root / "params.yaml").models
    index = open_index(root, rev)
    return Retriever(index, load_numpy_text_encoder(root, models, index.tokenizers))


def strengthen(hit: Hit, strength: float) -> Hit:
    """Return a hit with a strength; one that adds nothing, or is subtracted, has no words for the prompt.

    Raises MismatchError as `check_strength`.
    """
    factor = check_strength(hit.id, strength)
    return replace(hit, strength=factor, trigger_words=hit.trigger_words if factor > 0 else ())


def _hit(index: Index, rank: int, position: int, score: float, relevance: float | None) -> Hit:
    row = index.rows[position]
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
        index=index.digest,
    )
