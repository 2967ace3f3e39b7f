"""Search for adapters by prompt (Eq. 4-5).

    from pathlib import Path
    from autolora import open_retriever
    hits = open_retriever(Path(".")).search("a cat in the style of a linocut", k=3)

A search reads an immutable copy of the index (autolora.index.served), so a running stage never affects its results.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolora.errors import MismatchError
from autolora.index.served import Index, open_index
from autolora.matching.selection import select
from autolora.params import RetrievalParams, load
from autolora.records import Hit
from autolora.storage.arrays import Float32Array
from autolora.text_encoder.clip import load_numpy_text_encoder

if TYPE_CHECKING:  # a search does not import torch
    from autolora.encoder.model import TextEncoder


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
        self._text_encoder = text_encoder

    def search(self, prompt: str, k: int) -> list[Hit]:
        """Return the k adapters with the highest cosine to the prompt, best first (Eq. 5)."""
        scores = self.scores(prompt)
        best = np.argsort(-scores, kind="stable")[: max(k, 0)]
        cosines = scores[best].astype(np.float64)
        relevance: Sequence[float | None] = [None] * len(best)
        if self.index.relevance is not None:
            uses_captions = self.index.uses_captions[best]
            relevance = self.index.relevance.probabilities(cosines, uses_captions, is_first=True).tolist()
        return [
            _hit(self.index, int(position), rank, cosine, probability)
            for rank, (position, cosine, probability) in enumerate(
                zip(best, cosines.tolist(), relevance, strict=True), start=1
            )
        ]

    def select(self, prompt: str, params: RetrievalParams) -> list[Hit]:
        """Return the adapters that a prompt asks for, one for each thing that one of them does; none if none fits.

        Raises MismatchError if the encoder was imported, so that the relevance of adapters is unknown.
        """
        index = self.index
        if index.relevance is None:
            raise MismatchError(
                "the encoder was imported, and only a training fits the relevance by which adapters are selected: give "
                "the number of adapters (-k), or train an encoder (`dvc repro encoder`)"
            )
        matches = select(
            self.embed(prompt).astype(np.float64),
            index.vectors,
            index.uses_captions,
            index.relevance,
            params.max_selected,
            params.min_relevance,
        )
        return [
            _hit(index, match.position, rank, match.cosine, match.rank_value)
            for rank, match in enumerate(matches, start=1)
        ]

    def scores(self, prompt: str) -> Float32Array:
        """Return the cosines (N,) of a prompt with all adapters of the index (Eq. 4)."""
        cosines: Float32Array = self.index.vectors @ self.embed(prompt)
        return cosines

    def embed(self, prompt: str) -> Float32Array:
        """Return the unit vector (d,) of a prompt."""
        return self.index.text_map.apply(self._text_encoder.encode([prompt])[0])


def open_retriever(root: Path | str, rev: str | None = None) -> Retriever:
    """Return a retriever of the served index, or of a git revision's, with the text encoder of params.yaml.

    root: the root of the repository. Raises ParamsError if it contains no params.yaml, MissingArtifact if there is no
    index or text encoder, MismatchError if the index was built with a different text encoder.
    """
    root = Path(root)
    params = load(root / "params.yaml")
    return Retriever(open_index(root, rev), load_numpy_text_encoder(root, params.models))


def _hit(index: Index, position: int, rank: int, score: float, relevance: float | None) -> Hit:
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
