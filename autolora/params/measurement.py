"""The sections of measurements: of retrieval and of fusion."""

from dataclasses import dataclass
from typing import Literal

from autolora.params.generation import Method


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationParams:
    """How retrieval is measured."""

    split: Literal["test", "validation"]
    """adapters whose captions are the queries: test to report, validation to choose params"""
    ks: tuple[int, ...]
    """the k of recall at k"""
    bootstrap: int
    """number of bootstrap resamples of whole adapters"""
    seed: int
    themes: str | None
    """file of judgments, adapter sha256 -> theme, relative to the repository's root; null: none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentsParams:
    """How fusion is measured."""

    pairs: int
    """number of adapter pairs"""
    images: int
    """images per prompt and method, each from its own seed"""
    further_methods: tuple[Method, ...]
    """methods of fusion to measure besides direct, selected and gated"""
    bootstrap: int
    """number of bootstrap resamples of whole pairs"""
    seed: int
