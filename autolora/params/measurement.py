"""The sections of measurements: of retrieval and of fusion."""

from dataclasses import dataclass
from typing import Literal

from autolora.storage.bounds import Count


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationParams:
    """How retrieval is measured."""

    split: Literal["test", "validation"]
    """adapters whose captions are the queries: test to report, validation to choose params"""
    ks: tuple[int, ...] = (1, 3)
    """the k of recall at k"""
    bootstrap: int = 2000
    """number of bootstrap resamples of whole adapters"""
    seed: int = 0
    """that of the file"""
    themes: str | None
    """file of judgments, adapter sha256 -> theme, relative to the repository's root; null: none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentsParams:
    """How fusion is measured."""

    pairs: Count
    """number of adapter pairs"""
    images: Count
    """images per prompt and method, each from its own seed"""
    bootstrap: int = 2000
    """number of bootstrap resamples of whole pairs"""
    seed: int = 0
    """that of the file"""
