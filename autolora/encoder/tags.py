"""Tags: words and phrases that probably describe what an adapter does, by its weights alone.

Saved beside the encoder, with the vectors of all candidates, so that reading tags needs neither torch nor a text
encoder.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from autolora.errors import MissingArtifact
from autolora.matching.caption_rule import directions
from autolora.matching.evidence import logistic
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.files import write_atomic

TAGS = "tags.safetensors"
"""file beside the encoder, which not all have"""
NUM_TAGS = 3
LIKELY = 0.5
"""a tag of at least this probability is stated as one"""
VECTORS, COEFFICIENTS, TEXTS = "vectors", "coefficients", "texts"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A word or phrase, and the probability that most captions of the adapter contain it."""

    text: str
    probability: float

    @property
    def is_likely(self) -> bool:
        """Whether the tag is stated, rather than as the nearest that is known."""
        return self.probability >= LIKELY


@dataclass(frozen=True, slots=True, eq=False)
class TagTable:
    """The candidates for tags, and the logistic function from cosine to probability."""

    texts: tuple[str, ...]
    vectors: Float32Array
    """(P, d), unit"""
    coefficients: Float64Array
    """(2,): slope of the cosine, intercept"""

    def nearest(self, weights: Float64Array) -> Iterator[list[tuple[int, float]]]:
        """Yield, for each vector of weights (N, d), its NUM_TAGS nearest candidates and their cosines, nearest first.

        A candidate that has a word in common with a nearer one is passed over.
        """
        for vector in directions(weights):
            cosines = self.vectors @ vector.astype(np.float32)
            nearest: list[tuple[int, float]] = []
            words: set[str] = set()
            for row in np.argsort(-cosines, kind="stable").tolist():
                own = self.texts[row].split()
                if words.isdisjoint(own):
                    nearest.append((row, float(cosines[row])))
                    words.update(own)
                if len(nearest) == NUM_TAGS:
                    break
            yield nearest

    def tags(self, weights: Float64Array) -> list[tuple[Tag, ...]]:
        """Return the tags of each vector of weights (N, d), most probable first."""
        return [
            tuple(Tag(text=self.texts[row], probability=self._probability(cosine)) for row, cosine in nearest)
            for nearest in self.nearest(weights)
        ]

    def _probability(self, cosine: float) -> float:
        slope, intercept = self.coefficients
        return round(float(logistic(np.array(slope * cosine + intercept))), 3)


def describe_tags(tags: tuple[Tag, ...]) -> str:
    """Return tags as a phrase: the likely ones, or the nearest if none is; empty without tags."""
    likely = ", ".join(f"{tag.text} ({tag.probability:.0%})" for tag in tags if tag.is_likely)
    if likely or not tags:
        return likely
    return f"none is likely; the nearest is {tags[0].text} ({tags[0].probability:.0%})"


def save_tags(folder: Path, table: TagTable | None) -> None:
    """Write the tags into an encoder's folder, or remove those of an earlier encoder."""
    path = folder / TAGS
    if table is None:
        path.unlink(missing_ok=True)
        return
    arrays = {VECTORS: table.vectors, COEFFICIENTS: table.coefficients}
    write_atomic(path, save(arrays, {TEXTS: json.dumps(table.texts, ensure_ascii=False)}))


def load_tags(folder: Path) -> TagTable | None:
    """Return the tags in an encoder's folder; None if there are none. Raises MissingArtifact if they are damaged."""
    path = folder / TAGS
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            texts = tuple(json.loads(file.metadata()[TEXTS]))
            return _checked(TagTable(texts, file.get_tensor(VECTORS), file.get_tensor(COEFFICIENTS)))
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise MissingArtifact(f"{path} is damaged ({error}): run `dvc repro encoder`") from error


def _checked(table: TagTable) -> TagTable:
    """Return a table that was read. Raises ValueError if its parts do not fit: its author may be anybody."""
    if not all(isinstance(text, str) and text.isprintable() for text in table.texts):
        raise ValueError("expected printable texts")
    if table.vectors.ndim != 2 or len(table.vectors) != len(table.texts) or table.coefficients.shape != (2,):
        raise ValueError("expected a vector per text and two coefficients")
    return table
