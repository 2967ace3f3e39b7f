"""Search for adapters by prompt (Eq. 4-5).

    from pathlib import Path
    from autolora import open_retriever
    hits = open_retriever(Path(".")).search("a cat in the style of a linocut", k=3)

A search reads an immutable copy of the index (autolora.index.served), so a running stage never affects its results.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolora.errors import MismatchError
from autolora.index.served import Index, open_index
from autolora.params import load
from autolora.records import Hit
from autolora.storage.arrays import Float32Array
from autolora.text_encoder.clip import load_numpy_text_encoder

if TYPE_CHECKING:  # a search does not import torch
    from autolora.encoder.model import TextEncoder

MIN_LENGTH = 1e-6
"""shorter remainders of a prompt's vector are divided by this instead"""


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
        return [
            _hit(self.index, int(position), rank, float(scores[position]))
            for rank, position in enumerate(best, start=1)
        ]

    def select(self, prompt: str, max_selected: int, min_score: float) -> list[Hit]:
        """Return the adapters that together match all that a prompt asks for, each with its score; none if none fits.

        Orthogonal matching pursuit (Pati et al. 1993): an adapter's score is its cosine with the part of the prompt's
        vector that is orthogonal to the adapters before it, so several adapters of one concept are not selected
        together. It ends after `max_selected` adapters, or if no score is at least `min_score`.
        """
        vectors, wanted = self.index.vectors, self._embed(prompt)
        selected: list[int] = []
        hits: list[Hit] = []
        rest = wanted
        while len(hits) < min(max_selected, len(vectors)):
            scores = vectors @ (rest / max(float(np.linalg.norm(rest)), MIN_LENGTH))
            scores[selected] = -np.inf
            best = int(scores.argmax())
            if scores[best] < min_score:
                break
            selected.append(best)
            hits.append(_hit(self.index, best, len(selected), float(scores[best])))
            basis = vectors[selected].T
            rest = wanted - basis @ np.linalg.lstsq(basis, wanted, rcond=None)[0]
        return hits

    def scores(self, prompt: str) -> Float32Array:
        """Return the cosines (N,) of a prompt with all adapters of the index (Eq. 4)."""
        cosines: Float32Array = self.index.vectors @ self._embed(prompt)
        return cosines

    def _embed(self, prompt: str) -> Float32Array:
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


def _hit(index: Index, position: int, rank: int, score: float) -> Hit:
    row = index.rows[position]
    return Hit(
        rank=rank,
        score=score,
        sha256=row["sha256"],
        hub=row["hub"],
        id=row["id"],
        file=row["file"],
        license=row["license"],
        nsfw=row["nsfw"],
        trigger_words=tuple(row["trigger_words"]),
        index=index.digest,
    )
