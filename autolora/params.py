"""params.yaml -> frozen dataclasses. Strict: unknown, missing or mistyped keys are errors; no defaults in code."""

import datetime
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from autolora.errors import ParamsError
from autolora.presets import (
    Absent,
    Alpha,
    Draw,
    Form,
    Negatives,
    Preset,
    Probe,
    Projections,
    Schedule,
    Start,
    Strength,
    Tokens,
    View,
)  # fmt: skip
from autolora.records import Base, NsfwLevel

T = TypeVar("T")

AT_LEAST_ONE = {
    "hubs": ("attempts", "downloads"),
    "crawl": ("newest", "sweep_days"),
    "pool": ("max_rank", "max_image_px", "sketch_size"),
    "captions": ("max_tokens", "batch", "concurrency"),
    "vllm": ("attempts",),
    "encoder": ("probes", "layers", "heads", "mlp_ratio", "steps", "batch"),
    "index": ("batch",),
    "retrieval": ("k",),
    "fusion": ("steps", "batch", "picture"),
    "generation": ("width", "height", "steps", "max_sequence_length", "batch"),
    "judges": ("batch",),
    "evaluation": ("bootstrap",),
    "experiments": ("pairs", "images", "bootstrap"),
}
"""whole numbers that count something, by section"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsParams:
    """Which base pipeline and VLM; listed by the stages that load them."""

    pipeline: str
    """diffusers FluxPipeline: a folder, or a hub id"""
    pipeline_revision: str | None
    vlm: str
    vlm_revision: str | None
    device: str
    dtype: Literal["float32", "bfloat16", "float16"]
    threads: int
    """torch threads on the CPU; 0 leaves torch's own choice"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubParams:
    """One hub."""

    endpoint: str
    """URL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderParams:
    """A folder of LoRA files as a hub."""

    path: str | None
    """relative to the repository's root or absolute; null where there is none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubsParams:
    """Where the hubs are and how politely they are spoken to; no stage lists it."""

    civitai: HubParams
    huggingface: HubParams
    modelscope: HubParams
    folder: FolderParams
    timeout_s: float
    attempts: int
    """tries of one request before it counts as failed"""
    downloads: int
    """at the same time, a hub"""
    requests_per_s: float
    """a hub"""
    max_mb_per_s: float | None
    """10^6 bytes, a hub; null is unbounded"""
    min_kb_per_s: float
    """10^3 bytes; a download slower than this over timeout_s is given up"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetParams:
    """How much a night may bring; null is unbounded. The rest waits in the queue."""

    files: int | None
    gb: float | None
    """10^9 bytes of LoRA files"""
    captions: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlParams:
    """What goes into the catalog."""

    hubs: tuple[Literal["civitai", "huggingface", "modelscope", "folder"], ...]
    """asked every night; also their order of precedence for naming an adapter that several hubs list"""
    filters: tuple[str, ...]
    """tags that an adapter must carry (huggingface)"""
    searches: tuple[str, ...]
    """words to search for, one list each, which shows 3,000 models at most (modelscope); empty lists all its LoRAs"""
    bases: tuple[Base, ...]
    """base models that a listing may name; empty allows all, and what says nothing passes"""
    licenses: tuple[str, ...]
    """allow-list; empty allows all"""
    max_nsfw_level: NsfwLevel
    persons: bool
    """list adapters that show a real person"""
    minors: bool
    """list adapters that show a minor"""
    min_downloads: int
    """what tells no downloads passes"""
    max_file_mb: float
    newest: int | None
    """files a hub; null is all"""
    max_renderings: int
    overlap_h: float
    """how far behind the newest entry of the last crawl an increment looks"""
    sweep_days: int
    """every so many nights the whole list of a hub is read, and what is gone is noticed"""
    budget: BudgetParams


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolParams:
    """Bounds on what is read, and the size of a sketch."""

    max_header_mb: float
    max_rank: int
    min_known_keys: float
    """share, 0 to 1"""
    max_image_mb: float
    max_image_px: int
    sketch_size: int
    """m = p: rows and columns of one slot's sketch"""
    near_duplicate_cosine: float
    """of sketches; at least this alike, the later one is the earlier one saved anew"""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionParams:
    """What the VLM is asked for, by length of the caption."""

    short: str
    medium: str
    long: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionsParams:
    """How renderings are captioned."""

    engine: Literal["transformers", "vllm"]
    instructions: InstructionParams
    max_tokens: int
    batch: int
    """pictures a task"""
    concurrency: int
    """requests in flight (vllm)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmParams:
    """Where the vLLM server is; no stage lists it."""

    url: str
    timeout_s: float
    attempts: int
    """tries of one request before it counts as failed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetParams:
    """Families, splits and the training lock."""

    train_until: datetime.date
    """adapters first seen up to this day train the models"""
    test_share: float
    """of families, 0 to 1"""
    family_cosine: float
    """sketches at least this alike are one family"""
    salt: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderParams:
    """The encoder of Eq. 1-5 and its training."""

    preset: Preset
    probe: Probe
    """what an adapter is encoded from: its sketch, or its weights in full"""
    slots: View | None
    """this and what follows it, down to `center`: null has the preset's value; see presets.EncoderForm"""
    alpha: Alpha | None
    probes: int | None
    tokens: Tokens | None
    strength: Strength | None
    projections: Projections | None
    causal: bool | None
    absent: Absent | None
    start: Start | None
    temperature: float | None
    temperature_learned: bool | None
    loss_factor: float | None
    negatives: Negatives | None
    draw: Draw | None
    schedule: Schedule | None
    clip: bool | None
    regularize: bool | None
    center: bool | None
    layers: int
    heads: int
    mlp_ratio: int
    dropout: float
    steps: int
    batch: int
    """adapters a step"""
    learning_rate: float
    weight_decay: float
    slot_dropout: float
    """share of slots hidden in training, 0 to 1"""
    sketch_noise: float
    """in training, relative to a slot's own update"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexParams:
    """How adapters are embedded."""

    batch: int
    """adapters written at once"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalParams:
    """What a search answers when it is not told."""

    k: int


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionParams:
    """The gate of Eq. 6-9 and its training by Eq. 10."""

    preset: Preset
    slots: View | None
    """this and what follows it, down to `caption_dropout`: null has the preset's value; see presets.FusionForm"""
    gate: Form | None
    relevance: bool | None
    relevance_weight: float | None
    global_rank: int | None
    spread: float | None
    bias: float | None
    scale: float | None
    single_share: float | None
    hinge: float | None
    caption_dropout: float | None
    relevance_noise: float
    """standard deviation of what is added to 1 (named) or 0 (not) in training; clipped to 0..1 again"""
    steps: int
    batch: int
    """pictures a step, all of one target adapter"""
    picture: int
    """side of a training picture, in px"""
    guidance: float
    """the transformer's guidance input in training"""
    learning_rate: float
    checkpointing: bool
    """recompute activations on the way back: slower, in far less memory"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationParams:
    """How pictures are made; also those of experiments."""

    width: int
    height: int
    steps: int
    guidance: float
    max_sequence_length: int
    method: Literal["gated", "direct"]
    batch: int
    """pictures at once"""
    relevance_floor: float
    """score (cosine) up to which an adapter counts as not relevant"""
    relevance_ceiling: float
    """score from which it counts as wholly relevant"""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgesParams:
    """Who measures pictures; none of them makes or learns from what it judges."""

    clip: str
    """transformers CLIPModel: a folder, or a hub id"""
    clip_revision: str | None
    vlm: str
    """vision-language model that answers the question: a folder, or a hub id"""
    vlm_revision: str | None
    classifier: str | None
    """folder of a transformers image classifier with labels `field:value`; null where there is none"""
    question: str
    """of VQAScore; {text} is what the picture should show"""
    engine: Literal["transformers", "vllm"]
    batch: int
    """pictures at once (transformers) or requests in flight (vllm)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationParams:
    """Is retrieval right?"""

    ks: tuple[int, ...]
    bootstrap: int
    """resamples, clustered by adapter"""
    seed: int
    themes: str | None
    """file of judgments: adapter sha256 -> theme"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentsParams:
    """Does fusion work?"""

    pairs: int
    images: int
    """a prompt and method"""
    bootstrap: int
    """resamples, clustered by pair"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshParams:
    """The night."""

    commit: bool
    """commit catalog, digests and metrics to git"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """The whole of params.yaml; a function gets its own section, never this."""

    models: ModelsParams
    hubs: HubsParams
    crawl: CrawlParams
    pool: PoolParams
    captions: CaptionsParams
    vllm: VllmParams
    dataset: DatasetParams
    encoder: EncoderParams
    index: IndexParams
    retrieval: RetrievalParams
    fusion: FusionParams
    generation: GenerationParams
    judges: JudgesParams
    evaluation: EvaluationParams
    experiments: ExperimentsParams
    refresh: RefreshParams

    def __post_init__(self) -> None:
        _require(
            0 < self.dataset.test_share < 1, "dataset.test_share", self.dataset.test_share, "between 0 and 1"
        )
        near, family = self.pool.near_duplicate_cosine, self.dataset.family_cosine
        _require(near <= 1, "pool.near_duplicate_cosine", near, "at most 1")
        _require(
            family <= near, "dataset.family_cosine", family, f"at most pool.near_duplicate_cosine, {near}"
        )
        for section, names in AT_LEAST_ONE.items():
            for name in names:
                value = getattr(getattr(self, section), name)
                _require(value is None or value >= 1, f"{section}.{name}", value, "at least 1")
        _require(
            "{text}" in self.judges.question,
            "judges.question",
            self.judges.question,
            "a question with {text} in it",
        )
        _require(bool(self.crawl.hubs), "crawl.hubs", list(self.crawl.hubs), "a list of at least one hub")
        pace, most = self.hubs.requests_per_s, self.hubs.max_mb_per_s
        _require(pace > 0, "hubs.requests_per_s", pace, "above 0")
        _require(most is None or most > 0, "hubs.max_mb_per_s", most, "above 0, or null")
        _require(self.hubs.min_kb_per_s >= 0, "hubs.min_kb_per_s", self.hubs.min_kb_per_s, "at least 0")
        _require(
            len({*self.crawl.hubs}) == len(self.crawl.hubs),
            "crawl.hubs",
            list(self.crawl.hubs),
            "each hub once",
        )
        for name in ("files", "gb", "captions"):
            value = getattr(self.crawl.budget, name)
            _require(value is None or value >= 0, f"crawl.budget.{name}", value, "at least 0, or null")
        for name in ("min_downloads", "overlap_h"):
            value = getattr(self.crawl, name)
            _require(value >= 0, f"crawl.{name}", value, "at least 0")
        floor, ceiling = self.generation.relevance_floor, self.generation.relevance_ceiling
        _require(floor < ceiling, "generation.relevance_floor", floor, f"below relevance_ceiling, {ceiling}")
        _require(self.fusion.picture % 16 == 0, "fusion.picture", self.fusion.picture, "a multiple of 16 px")
        for side in ("width", "height"):
            value = getattr(self.generation, side)
            _require(value % 16 == 0, f"generation.{side}", value, "a multiple of 16 px")


def load(path: Path) -> Params:
    """Load params.yaml.

    Raises ParamsError with the dotted path of what is wrong and what is allowed there.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist: run from the root of an AutoLoRA repository") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not YAML: {error}") from error
    try:
        return _read(Params, content, "")
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error


def _require(holds: bool, where: str, value: object, rule: str) -> None:
    if not holds:
        raise ParamsError(f"{where} is {value!r} but must be {rule}")


def _read(kind: type[T], value: Any, where: str) -> T:
    """Read one section (a dataclass) from its mapping."""
    if not isinstance(value, Mapping):
        raise ParamsError(f"{where or 'the file'} must be a mapping, not {value!r}")
    types_ = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # kind is always a dataclass
    prefix = f"{where}." if where else ""
    for key in value:
        if key not in names:
            raise ParamsError(f"unknown key '{prefix}{key}'; allowed here: {', '.join(names)}")
    for name in names:
        if name not in value:
            raise ParamsError(f"missing key '{prefix}{name}'; needed here: {', '.join(names)}")
    return kind(**{name: _value(types_[name], value[name], prefix + name) for name in names})


def _value(kind: Any, value: Any, where: str) -> Any:
    """Check one value against its annotation and return it in that type."""
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _read(kind, value, where)  # type: ignore[arg-type]  # is_dataclass does not narrow
    if origin is Literal:
        return _literal(kind, value, where)
    if origin in (Union, types.UnionType):
        inner = next(member for member in get_args(kind) if member is not type(None))
        return None if value is None else _value(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ParamsError(f"{where} must be a list, not {value!r}")
        return tuple(_value(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is datetime.date:
        return _date(value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ParamsError(f"{where} must be of type {kind.__name__}, not {value!r}")
    return value


def _date(value: Any, where: str) -> datetime.date:
    """Read a date from text: DVC refuses params of YAML's own date type."""
    try:
        return datetime.date.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise ParamsError(f'{where} must be a date in quotes like "2026-01-31", not {value!r}') from error


def _literal(kind: Any, value: Any, where: str) -> Any:
    if value not in get_args(kind):
        raise ParamsError(f"{where} is {value!r}; allowed: {', '.join(map(repr, get_args(kind)))}")
    return value
