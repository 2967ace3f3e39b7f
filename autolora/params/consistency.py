"""The values that must fit together. All functions raise ParamsError."""

from autolora.errors import ParamsError
from autolora.params.models import JudgesParams, ModelsParams
from autolora.params.training_data import DatasetParams, PoolParams
from autolora.presets.encoder import EncoderVariant


def check_splits(dataset: DatasetParams) -> None:
    """Check that test and validation split leave adapters for training."""
    rule = f"below 1 together with dataset.test_share, {dataset.test_share}"
    share = dataset.validation_share
    _require(dataset.test_share + share < 1, "dataset.validation_share", share, rule)


def check_families(pool: PoolParams, dataset: DatasetParams) -> None:
    """Check that near-duplicates are of one family."""
    rule = f"at most pool.near_duplicate_cosine, {pool.near_duplicate_cosine}"
    cosine = dataset.family_cosine
    _require(cosine <= pool.near_duplicate_cosine, "dataset.family_cosine", cosine, rule)


def check_encoder(variant: EncoderVariant) -> None:
    """Check that the fields of an encoder's variant fit together."""
    is_ridge, probe = variant.model == "ridge", variant.probe
    rule = "'sketch' for the model 'ridge'"
    _require(not is_ridge or probe == "sketch", "encoder.overrides.probe", probe, rule)
    rule = "false for the model 'transformer'"
    _require(is_ridge or not variant.hybrid, "encoder.overrides.hybrid", variant.hybrid, rule)


def check_judges(judges: JudgesParams, models: ModelsParams) -> None:
    """Check that another VLM judges than the one that writes captions."""
    rule = "another model than models.vlm, whose captions the models are trained on"
    _require(judges.vlm != models.vlm, "judges.vlm", judges.vlm, rule)


def _require(holds: bool, dotted: str, value: object, rule: str) -> None:
    if not holds:
        raise ParamsError(f"{dotted} is {value!r} but must be {rule}")
