"""The ranges of values, and the values that must fit together. All functions raise ParamsError."""

from collections.abc import Callable, Mapping
from typing import Any

from autolora.errors import ParamsError
from autolora.params.hubs import CrawlParams
from autolora.params.limits import MAX_ACTING, MAX_SEED, MAX_STRENGTH
from autolora.params.models import JudgesParams, ModelsParams
from autolora.params.training_data import DatasetParams, PoolParams
from autolora.presets.encoder import EncoderVariant

Rule = tuple[str, Callable[[Any], bool], Mapping[str, tuple[str, ...]]]
RULES: tuple[Rule, ...] = (
    (f"between 1 and {MAX_ACTING}, both allowed", lambda value: 1 <= value <= MAX_ACTING, {
        "retrieval": ("max_selected",),
    }),
    ("at least 1", lambda value: value >= 1, {
        "hubs": ("attempts", "downloads"),
        "crawl": ("newest", "full_scan_every_days"),
        "pool": ("max_rank", "max_image_px", "sketch_size"),
        "captions": ("max_tokens", "max_image_side", "batch", "concurrency"),
        "vllm": ("attempts",),
        "encoder": ("steps", "batch"),
        "encoder.overrides": ("probes", "layers", "heads", "mlp_ratio", "landmarks"),
        "index": ("batch",),
        "retrieval": ("k",),
        "fusion": ("steps", "batch", "image_size", "validate_every", "patience", "trajectories", "trajectory_steps"),
        "generation": ("width", "height", "steps", "max_sequence_length", "batch"),
        "judges": ("batch",),
        "evaluation": ("bootstrap",),
        "experiments": ("pairs", "images", "bootstrap"),
        "serve": ("results", "max_uploads", "max_waiting", "thumbnail_px", "max_image_px"),
    }),
    ("at least 0", lambda value: value >= 0, {
        "hubs": ("min_kb_per_s",),
        "crawl": ("min_downloads", "overlap_h"),
        "fusion.overrides": ("global_rank",),
    }),
    (f"between 0 and {MAX_SEED}, both allowed", lambda value: 0 <= value <= MAX_SEED, {
        "encoder": ("seed",),
        "fusion": ("seed",),
        "evaluation": ("seed",),
        "experiments": ("seed",),
    }),
    ("at least 0, or null", lambda value: value >= 0, {"crawl.budget": ("files", "gb", "captions")}),
    ("above 0", lambda value: value > 0, {
        "hubs": ("requests_per_s",),
        "encoder.overrides": ("learning_rate", "temperature", "ridge", "text_shrinkage"),
        "fusion.overrides": ("learning_rate",),
        "serve": ("max_upload_mb",),
        "refresh": ("timeout_h",),
    }),
    ("above 0, or null", lambda value: value > 0, {"hubs": ("max_mb_per_s",)}),
    (f"above 0 and at most {MAX_STRENGTH:g}", lambda value: 0 < value <= MAX_STRENGTH, {
        "fusion.overrides": ("velocity_factor",),
        "generation.rules": ("velocity_factor",),
    }),
    ("above 0 and below 1", lambda value: 0 < value < 1, {
        "dataset": ("test_share",),
    }),
    ("between 2 and 4, both allowed", lambda value: 2 <= value <= 4, {"fusion.overrides": ("max_active",)}),
    ("at least 0 and below 1", lambda value: 0 <= value < 1, {"dataset": ("validation_share",)}),
    ("between 0 and 1, both allowed", lambda value: 0 <= value <= 1, {
        "crawl": ("max_withdrawn_share",),
        "retrieval": ("min_relevance",),
        "generation.rules": ("velocity_share",),
    }),
    ("a list of at least one URL", lambda value: len(value) >= 1, {"vllm": ("urls",)}),
    ("at most 1", lambda value: value <= 1, {"pool": ("near_duplicate_cosine",)}),
    ("a multiple of 16 px", lambda value: value % 16 == 0, {
        "fusion": ("image_size",),
        "generation": ("width", "height"),
    }),
)  # fmt: skip
"""ranges of values: what a value must be, a test of it, and section -> keys; null passes where it is allowed"""


def check_ranges(params: object) -> None:
    """Check each value of RULES; `params` has the sections as attributes."""
    for section in dict.fromkeys(section for _, _, keys in RULES for section in keys):
        check_section(section, _section(params, section), section)


def check_section(section: str, values: object, dotted: str) -> None:
    """Check the values of a section by RULES. section: its key there. dotted: what an error calls it."""
    for rule, holds, keys in RULES:
        for name in keys.get(section, ()):
            value = getattr(values, name)
            _require(value is None or holds(value), f"{dotted}.{name}", value, rule)


def check_hubs(crawl: CrawlParams) -> None:
    """Check that a crawl has hubs, each of them once."""
    hubs = list(crawl.hubs)
    _require(bool(hubs), "crawl.hubs", hubs, "a list of at least one hub")
    _require(len(set(hubs)) == len(hubs), "crawl.hubs", hubs, "a list without repetitions")


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
    """Check that another VLM judges than the one that writes captions, and that its question has a place for a text."""
    rule = "another model than models.vlm, whose captions the models are trained on"
    _require(judges.vlm != models.vlm, "judges.vlm", judges.vlm, rule)
    rule = "a question with {text} in it"
    _require("{text}" in judges.question, "judges.question", judges.question, rule)


def _require(holds: bool, dotted: str, value: object, rule: str) -> None:
    if not holds:
        raise ParamsError(f"{dotted} is {value!r} but must be {rule}")


def _section(params: object, dotted: str) -> Any:
    """Return a section by its dotted path, in which `overrides` stands for the section's variant."""
    section: Any = params
    for name in dotted.split("."):
        section = section.variant if name == "overrides" else getattr(section, name)
    return section
