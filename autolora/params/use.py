"""The sections of what uses the trained models: searches, images, measurements, and the nightly refresh."""

from dataclasses import dataclass
from typing import Literal

from autolora.params.limits import Acting, Method
from autolora.storage.bounds import Count, Positive, Share, Side


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalParams:
    """Defaults of a search, and the selection of adapters for an image."""

    k: Count
    """number of adapters in a search result"""
    max_selected: Acting
    """maximum number of adapters that are selected for one image"""
    min_relevance: Share
    """an adapter is selected if the probability that the prompt asks for what it does, beyond what the adapters
    selected before it do, is at least this"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationParams:
    """How images are generated, also those of experiments."""

    width: Side
    """px, a multiple of 16, as is the height"""
    height: Side
    steps: Count
    """denoising steps"""
    guidance: float
    """guidance scale of FLUX.1-dev"""
    max_sequence_length: Count
    """T5 tokens of a prompt, also in the training of the gates"""
    trigger_words: bool = True
    """add the first trigger word of each adapter to the prompt of `generate`"""
    method: Method
    """how several adapters act together: as the sum of their updates (direct), or through the gates (gated)"""
    batch: Count
    """images per call of the pipeline"""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationParams:
    """On what the stages run."""

    engine: Literal["local", "ray"]
    """what captions images, reads stored files again and embeds adapters: this process, or the workers of Ray"""
    processes: Count
    """of the trainings of gates and of the encoder's transformer; each computes a part of every batch"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshParams:
    """The nightly refresh."""

    commit: bool
    """commit catalog, digests and metrics to git, and tag each release"""
    timeout_h: Positive
    """hours after which a refresh, or a stage, fails"""
    stale_days: Count | None
    """days without a release after which an alarm is raised; null: never"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageParams:
    """Where the files of the pool are kept."""

    keep_local_gb: Positive | None
    """10^9 bytes of batches on this disk; a refresh evicts what exceeds them; null: nothing is evicted"""
