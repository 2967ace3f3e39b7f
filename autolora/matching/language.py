"""What an encoder has learned about language: the spaces in which parts of prompts meet captions and texts."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from autolora.errors import MissingArtifact
from autolora.matching.caption_rule import directions
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.files import write_atomic

FILE = "language.safetensors"
MODEL = "model"
"""key of the file's metadata: the digest of the sentence encoder"""
PRIOR_TRUST = 2.0
"""log-odds that texts are an adapter's own before they are compared with anything"""
MAX_TRUST, MAX_CONFIRMATION = 8.0, 3.0
"""log-odds that a comparison reaches at most, and that captions add to the prior at most"""


@dataclass(frozen=True, slots=True, eq=False)
class LanguageMap:
    """From features (N, d) of a sentence encoder to vectors, by which parts of prompts are compared with what is said.

    What is said are captions, or texts about adapters. The matrix divides by two covariances: that within the captions
    of an adapter, so that color and place of a picture weigh little, and that of everyday phrases, so that frequent
    things do; for texts by the second alone.
    """

    said_mean: Float32Array
    """(d,) of what is said: of the training adapters' captions, or of everyday phrases"""
    phrase_mean: Float32Array
    """(d,) of everyday phrases"""
    matrix: Float32Array
    """(d, d); everyday phrases have vectors of length 1 on average"""

    @property
    def width(self) -> int:
        """Return the width d of the features."""
        return len(self.phrase_mean)

    def said(self, features: Float32Array) -> Float32Array:
        """Return the unit vectors (N, d) of captions or texts; zero for features of zeros, of what cannot be read."""
        mapped = directions(((features - self.said_mean) @ self.matrix).astype(np.float64))
        vectors: Float32Array = (mapped * features.any(axis=1, keepdims=True)).astype(np.float32)
        return vectors

    def mean(self, features: Float32Array) -> Float32Array:
        """Return the unit mean (d,) of the unit vectors of captions or texts (N, d)."""
        total = self.said(features).sum(axis=0, dtype=np.float64)
        mean: Float32Array = directions(total[None])[0].astype(np.float32)
        return mean

    def parts(self, features: Float32Array) -> Float32Array:
        """Return the vectors (N, d) of parts of prompts; that of a part about nothing in particular is short, and zero
        for features of zeros."""
        mapped = (features - self.phrase_mean) @ self.matrix
        vectors: Float32Array = (mapped * features.any(axis=1, keepdims=True)).astype(np.float32)
        return vectors


@dataclass(frozen=True, slots=True, eq=False)
class TextTrust:
    """From how well texts agree with what is better known about an adapter to the log-odds that they are its own."""

    by_captions: Float64Array
    """(2,) slope of the cosine of texts and captions in the captions' space, and intercept"""
    by_weights: Float64Array
    """(2,) the same of the agreement of texts with the weights, in units of the prediction's length"""

    def log_odds(self, cosine: float | None, agreement: float, length: float) -> float:
        """Return the log-odds, within ± MAX_TRUST.

        cosine: with the captions; None if none count. agreement: with the weights (`CaptionRule.agreements`). length:
        of what the weights predict: an adapter with a short one resembles no training adapter.
        """
        if cosine is not None:
            slope, intercept = self.by_captions
            evidence = float(np.clip(slope * cosine + intercept, -MAX_TRUST, MAX_CONFIRMATION))
        else:
            slope, intercept = self.by_weights
            evidence = length * (slope * agreement + intercept)
        return float(np.clip(PRIOR_TRUST + evidence, -MAX_TRUST, MAX_TRUST))


@dataclass(frozen=True, slots=True, eq=False)
class Language:
    """What the training of an encoder has learned about language."""

    model: str
    """digest of the sentence encoder"""
    captions: LanguageMap
    texts: LanguageMap
    coefficients: Float64Array
    """(3, 4) of the log-odds of relevance (autolora.matching.evidence.log_odds_inputs) by weights, captions, texts"""
    trust: TextTrust
    everyday_length: float
    """mean length of everyday phrases in the space that weights are compared with, before they are made unit vectors"""
    min_length: float
    """of what the regression predicts from weights: an adapter with less resembles no training adapter, so that its
    weights cannot contradict its captions"""

    @property
    def digest(self) -> str:
        """Return the sha256 of what was learned."""
        return hashlib.sha256(self._to_bytes()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write language.safetensors into a folder, atomically."""
        write_atomic(folder / FILE, self._to_bytes())

    def _to_bytes(self) -> bytes:
        arrays = {
            f"{name}.{field}": getattr(getattr(self, name), field)
            for name, fields in PARTS.items()
            for field in fields
        }
        lengths = np.array([self.everyday_length, self.min_length])
        content: bytes = save(
            arrays | {"coefficients": self.coefficients, "lengths": lengths}, {MODEL: self.model}
        )
        return content

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Return the language in a folder; None if it has none. Raises MissingArtifact if it is damaged."""
        path = folder / FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                model = file.metadata()[MODEL]
            captions, texts, trust = (
                {field: arrays.pop(f"{name}.{field}") for field in fields} for name, fields in PARTS.items()
            )
            coefficients, lengths = arrays.pop("coefficients"), arrays.pop("lengths").tolist()
            if arrays:
                raise ValueError(f"tensors {', '.join(arrays)} are unknown")
            maps = LanguageMap(**captions), LanguageMap(**texts)
            return cls(model, *maps, coefficients, TextTrust(**trust), *lengths)
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise MissingArtifact(
                f"{path} is not a valid language ({error}): run `dvc repro encoder index`"
            ) from error


PARTS = {
    "captions": LanguageMap.__slots__,
    "texts": LanguageMap.__slots__,
    "trust": TextTrust.__slots__,
}
"""fields of a language that consist of arrays, and the names of these"""
