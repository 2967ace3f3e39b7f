"""Finding adapters by prompt, Eq. 4–5, by the readers' rule: never open what writers write.

    from pathlib import Path
    from autolora.retrieval import open_retriever
    hits = open_retriever(Path(".")).search("a cat in the style of a linocut", k=3)

Readers open immutable copies, cache/index/<digest>/, made once by whoever asks first and checked row by row
against the digest. cache/served names the digest that has been released.
"""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autolora.encoder.model import TextEncoder
from autolora.errors import MismatchError
from autolora.index.served import Index, open_index
from autolora.models import load_text_encoder
from autolora.params import load
from autolora.records import Hit

logger = logging.getLogger(__name__)


class Retriever:
    """Answers prompts from one index."""

    def __init__(self, index: Index, text_encoder: TextEncoder) -> None:
        """Put an index and a text encoder together.

        Raises MismatchError when the index was made for another text encoder.
        """
        theirs = (text_encoder.digest, text_encoder.width)
        if theirs != (index.text_encoder, len(index.text_center)):
            raise MismatchError(
                f"index {index.digest[:12]} was made for text encoder {index.text_encoder[:12]} of width "
                f"{len(index.text_center)}, but models.pipeline has {theirs[0][:12]} of width {theirs[1]}: "
                "name the pipeline it was made for in params.yaml, or run `dvc repro`"
            )
        self.index = index
        self._text_encoder = text_encoder

    def search(self, prompt: str, k: int) -> list[Hit]:
        """Return the k adapters whose vectors are nearest to the prompt's by cosine, best first (Eq. 5)."""
        scores = self.scores(prompt)
        best = np.argsort(-scores, kind="stable")[: max(k, 0)]
        return [
            _hit(self.index, int(place), rank, float(scores[place]))
            for rank, place in enumerate(best, start=1)
        ]

    def scores(self, prompt: str) -> NDArray[np.float32]:
        """Return the cosine (N,) of a prompt with each adapter of the index (Eq. 4)."""
        features: NDArray[np.float32] = (
            self._text_encoder.encode([prompt])[0].numpy() - self.index.text_center
        )
        found: NDArray[np.float32] = self.index.vectors @ (features / np.linalg.norm(features))
        return found


def open_retriever(root: Path, rev: str | None = None) -> Retriever:
    """Open what is served (or the index of a git revision) with the text encoder that params.yaml names.

    Raises MissingArtifact when there is no index, MismatchError when it is for another text encoder.
    """
    index = open_index(root, rev)
    models = load(root / "params.yaml").models
    if (root / models.pipeline).is_dir():
        models = replace(models, pipeline=str(root / models.pipeline))
    return Retriever(index, load_text_encoder(models))


def _hit(index: Index, place: int, rank: int, score: float) -> Hit:
    row = index.rows[place]
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
