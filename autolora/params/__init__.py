"""Load params.yaml into frozen dataclasses; unknown, missing and mistyped keys are errors, and no key has a default.

A field without a default is a key of the file; a field with one is a constant, but for `seed`, which `load` takes from
the file's `seed`. Bounds of keys are annotations (storage/bounds.py).

The sections `encoder` and `fusion` name a preset and override single fields of it: `preset: best` with
`overrides: {heads: 4}` becomes `variant`, the preset's variant with that field replaced. Their key `from` is the field
`from_`, because `from` is a keyword of Python.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from autolora.errors import ParamsError
from autolora.params.hubs import CrawlParams, FolderParams, HubParams, HubsParams
from autolora.params.limits import METHODS, Method, Seed
from autolora.params.models import JudgesParams, ModelsParams, VllmParams
from autolora.params.reader import read_section
from autolora.params.training import EncoderParams, FusionParams, training_params
from autolora.params.training_data import (
    CaptionsParams,
    DatasetParams,
    DrawingsParams,
    InstructionParams,
    PoolParams,
)
from autolora.params.use import (
    EvaluationParams,
    ExperimentsParams,
    GenerationParams,
    OperationParams,
    RefreshParams,
    RetrievalParams,
    StorageParams,
)
from autolora.presets.encoder import EncoderVariant

__all__ = [
    "METHODS", "CaptionsParams", "CrawlParams", "DatasetParams", "DrawingsParams", "EncoderParams",
    "EvaluationParams", "ExperimentsParams", "FolderParams", "FusionParams", "GenerationParams", "HubParams",
    "HubsParams", "InstructionParams", "JudgesParams", "Method", "ModelsParams", "OperationParams", "Params",
    "PoolParams", "RefreshParams", "RetrievalParams", "StorageParams", "VllmParams", "load",
    "training_params",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """All sections of params.yaml; a function takes the sections it needs, not this."""

    seed: Seed
    """of encoder, fusion, evaluation and experiments"""
    models: ModelsParams
    hubs: HubsParams
    crawl: CrawlParams
    pool: PoolParams
    drawings: DrawingsParams
    captions: CaptionsParams
    vllm: VllmParams
    dataset: DatasetParams
    encoder: EncoderParams
    retrieval: RetrievalParams
    fusion: FusionParams
    generation: GenerationParams
    judges: JudgesParams
    evaluation: EvaluationParams
    experiments: ExperimentsParams
    operation: OperationParams
    refresh: RefreshParams
    storage: StorageParams

    def __post_init__(self) -> None:
        """Raise ParamsError if two values contradict each other."""
        _check_splits(self.dataset)
        _check_encoder(self.encoder.variant)
        _check_families(self.pool, self.dataset)
        _check_judges(self.judges, self.models)
        _check_batches(self)

    @property
    def inputs(self) -> dict[str, str | None]:
        """What lies outside the repository, of a stage each, by the name of the param that names it."""
        return {
            "encoder.from": self.encoder.from_,
            "encoder.language": self.encoder.language if self.encoder.has_language else None,
        }


def load(path: Path | str) -> Params:
    """Return the params of a params.yaml.

    Raises ParamsError with the dotted path of a wrong key or value and what is allowed there.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist: run from the root of an AutoLoRA repository") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    try:
        return _share_seed(read_section(Params, content))
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error


def _share_seed(params: Params) -> Params:
    """Return params whose sections have the seed of the file."""
    seed = params.seed
    return replace(
        params,
        encoder=replace(params.encoder, seed=seed),
        fusion=replace(params.fusion, seed=seed),
        evaluation=replace(params.evaluation, seed=seed),
        experiments=replace(params.experiments, seed=seed),
    )


def _check_splits(dataset: DatasetParams) -> None:
    """Check that test and validation split leave adapters for training. Raises ParamsError."""
    rule = f"below 1 together with dataset.test_share, {dataset.test_share}"
    share = dataset.validation_share
    _require(dataset.test_share + share < 1, "dataset.validation_share", share, rule)


def _check_batches(params: Params) -> None:
    """Check that the processes of a training get equal parts of a batch. Raises ParamsError."""
    rule = f"a multiple of operation.processes, {params.operation.processes}"
    batch = params.fusion.batch
    _require(batch % params.operation.processes == 0, "fusion.batch", batch, rule)
    if params.encoder.trains_transformer:
        batch = params.encoder.variant.batch
        _require(batch % params.operation.processes == 0, "encoder.overrides.batch", batch, rule)


def _check_families(pool: PoolParams, dataset: DatasetParams) -> None:
    """Check that near-duplicates are of one family. Raises ParamsError."""
    rule = f"at most pool.near_duplicate_cosine, {pool.near_duplicate_cosine}"
    cosine = dataset.family_cosine
    _require(cosine <= pool.near_duplicate_cosine, "dataset.family_cosine", cosine, rule)


def _check_encoder(variant: EncoderVariant) -> None:
    """Check that the fields of an encoder's variant fit together. Raises ParamsError."""
    is_ridge, probe = variant.model == "ridge", variant.probe
    rule = "'sketch' for the model 'ridge'"
    _require(not is_ridge or probe == "sketch", "encoder.overrides.probe", probe, rule)
    rule = "false for the model 'transformer'"
    _require(is_ridge or not variant.hybrid, "encoder.overrides.hybrid", variant.hybrid, rule)


def _check_judges(judges: JudgesParams, models: ModelsParams) -> None:
    """Check that another VLM judges than the one that writes captions. Raises ParamsError."""
    rule = "another model than models.vlm, whose captions the models are trained on"
    _require(judges.vlm != models.vlm, "judges.vlm", judges.vlm, rule)


def _require(holds: bool, dotted: str, value: object, rule: str) -> None:
    if not holds:
        raise ParamsError(f"{dotted} is {value!r} but must be {rule}")
