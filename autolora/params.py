"""Load params.yaml into frozen dataclasses; unknown, missing and mistyped keys are errors, and no key has a default.

The sections `encoder` and `fusion` name a preset and override single fields of it: `preset: best` with
`overrides: {heads: 4}` becomes `variant`, the preset's variant with that field replaced. Their key `from` is the field
`from_`, because `from` is a keyword of Python.
"""

import datetime
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from autolora.errors import ParamsError
from autolora.params_reader import read_section
from autolora.presets import EncoderVariant, FusionVariant, Preset
from autolora.records import Base, NsfwLevel

Method = Literal[
    "direct", "gated", "mean", "velocity", "composite", "switch", "ties", "ties_slots", "ties_factors", "dare",
    "dare_factors", "knots", "knots_released", "klora", "klora_released", "klora_balanced",
]  # fmt: skip
"""methods of fusion, see docs/fusion.md"""
METHODS: tuple[Method, ...] = get_args(Method)

Rule = tuple[str, Callable[[Any], bool], Mapping[str, tuple[str, ...]]]
RULES: tuple[Rule, ...] = (
    ("at least 1", lambda value: value >= 1, {
        "hubs": ("attempts", "downloads"),
        "crawl": ("newest", "full_scan_every_days"),
        "pool": ("max_rank", "max_image_px", "sketch_size"),
        "captions": ("max_tokens", "max_image_side", "batch", "concurrency"),
        "vllm": ("attempts",),
        "concepts": ("max_images", "image_size", "draws", "min_images", "batch"),
        "encoder": ("steps", "batch"),
        "encoder.overrides": ("probes", "layers", "heads", "mlp_ratio", "landmarks"),
        "index": ("batch",),
        "retrieval": ("k", "max_selected"),
        "fusion": ("steps", "batch", "image_size", "validate_every", "patience", "trajectories", "trajectory_steps"),
        "generation": ("width", "height", "steps", "max_sequence_length", "batch"),
        "generation.rules": ("switch_steps",),
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
    ("at least 0, or null", lambda value: value >= 0, {"crawl.budget": ("files", "gb", "captions")}),
    ("above 0", lambda value: value > 0, {
        "hubs": ("requests_per_s",),
        "encoder.overrides": ("learning_rate", "temperature", "ridge", "text_shrinkage"),
        "fusion.overrides": ("learning_rate", "velocity_factor"),
        "generation.rules": ("velocity_factor",),
        "serve": ("max_upload_mb",),
        "refresh": ("timeout_h",),
    }),
    ("above 0, or null", lambda value: value > 0, {"hubs": ("max_mb_per_s",)}),
    ("between 0 and 1", lambda value: 0 < value < 1, {
        "dataset": ("test_share",),
        "generation.rules": ("density", "drop"),
    }),
    ("between 2 and 4", lambda value: 2 <= value <= 4, {"fusion.overrides": ("max_active",)}),
    ("at least 0 and below 1", lambda value: 0 <= value < 1, {"dataset": ("validation_share",)}),
    ("between 0 and 1, both allowed", lambda value: 0 <= value <= 1, {
        "crawl": ("max_withdrawn_share",),
        "concepts": ("max_share", "max_overlap"),
        "retrieval": ("min_relevance",),
        "generation.rules": ("velocity_share",),
    }),
    ("a list of at least one URL", lambda value: len(value) >= 1, {"vllm": ("urls",)}),
    ("at most 1", lambda value: value <= 1, {"pool": ("near_duplicate_cosine",)}),
    ("a list of numbers above 0 and at most 1", lambda value: bool(value) and all(0 < level <= 1 for level in value), {
        "concepts": ("noise_levels",),
    }),
    ("a multiple of 16 px", lambda value: value % 16 == 0, {
        "concepts": ("image_size",),
        "fusion": ("image_size",),
        "generation": ("width", "height"),
    }),
)  # fmt: skip
"""ranges of values: what a value must be, a test of it, and section -> keys; null passes where it is allowed"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelsParams:
    """The base pipeline and the VLM; a stage that loads one of them depends on its name and revision."""

    pipeline: str
    """diffusers FluxPipeline: a local folder or a Hugging Face id"""
    pipeline_revision: str | None
    """commit of the hub repository; required with an id, null with a folder"""
    vlm: str
    """vision-language model that writes captions: a local folder or a Hugging Face id"""
    vlm_revision: str | None
    """as `pipeline_revision`"""
    device: str
    """torch device of all models: cpu, or cuda for an NVIDIA GPU"""
    dtype: Literal["float32", "bfloat16", "float16"]
    """precision of the base pipeline"""
    threads: int
    """CPU threads of torch; 0 keeps torch's default"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubParams:
    """One hub with an HTTP API."""

    endpoint: str
    """URL"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderParams:
    """A folder of LoRA files as a hub."""

    path: str | None
    """relative to the repository's root or absolute; null: no folder"""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubsParams:
    """Locations of the hubs, and limits on requests and downloads; no output depends on them."""

    civitai: HubParams
    huggingface: HubParams
    modelscope: HubParams
    folder: FolderParams
    timeout_s: float
    """seconds for connecting, and for each read; a whole response may take several times as long"""
    attempts: int
    """attempts per request"""
    downloads: int
    """maximum number of parallel downloads per hub"""
    requests_per_s: float
    """maximum rate per hub"""
    max_mb_per_s: float | None
    """maximum download rate per hub, 10^6 bytes; null is unlimited"""
    min_kb_per_s: float
    """10^3 bytes; a download slower than this over timeout_s is aborted"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetParams:
    """The daily budget of new files; null is unbounded. Other new files are queued."""

    files: int | None
    """number of LoRA files"""
    gb: float | None
    """10^9 bytes of LoRA files"""
    captions: int | None
    """number of captions to be written for new images"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlParams:
    """Which hubs are scanned, and which of their files enter the catalog."""

    hubs: tuple[Literal["civitai", "huggingface", "modelscope", "folder"], ...]
    """in order of precedence: the first one names an adapter that several hubs list"""
    filters: tuple[str, ...]
    """tags that an adapter must carry (huggingface)"""
    searches: tuple[str, ...]
    """values of `search`, each with a list of at most 3,000 models (modelscope); empty: one list of all LoRAs"""
    bases: tuple[Base, ...]
    """allowed base models; empty allows all, and a listing without a base model passes"""
    licenses: tuple[str, ...]
    """allowed licenses; empty allows all"""
    max_nsfw_level: NsfwLevel
    """highest allowed level of adapters, and of their renderings"""
    persons: bool
    """allow adapters that show a real person"""
    minors: bool
    """allow adapters that show a minor"""
    min_downloads: int
    """a listing without a number of downloads passes"""
    max_file_mb: float
    """10^6 bytes; larger files are rejected"""
    newest: int | None
    """number of newest files per hub; null is all"""
    max_renderings: int
    """maximum number of renderings per adapter"""
    overlap_h: float
    """hours before the watermark that an incremental scan reads again"""
    full_scan_every_days: int
    """days between full scans, which read a hub's whole list and notice removed models"""
    max_withdrawn_share: float
    """if more than this share of a hub's known models is absent from a full scan, none of them is withdrawn"""
    budget: BudgetParams


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolParams:
    """Limits on LoRA files and images, the size of sketches, and the threshold for near-duplicates."""

    max_header_mb: float
    """10^6 bytes"""
    max_rank: int
    """maximum rank of the update of a slot"""
    min_known_keys: float
    """minimum share of tensors whose names match a known layout, 0 to 1"""
    max_image_mb: float
    """10^6 bytes"""
    max_image_px: int
    """width times height"""
    sketch_size: int
    """m = p: rows and columns of the sketch of a slot"""
    near_duplicate_cosine: float
    """cosine of two fingerprints from which the later adapter is a near-duplicate of the earlier one"""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionParams:
    """Instructions for the VLM, by length of the caption."""

    short: str
    medium: str
    long: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionsParams:
    """Captioning of renderings."""

    engine: Literal["transformers", "vllm"] | None
    """run the VLM in the process of the stage, or request captions from a vLLM server; null: `autolora index` writes no
    captions"""
    instructions: InstructionParams
    max_tokens: int
    """maximum length of a caption"""
    max_image_side: int
    """px; an image whose longer side exceeds it is downsized before it is captioned"""
    batch: int
    """images per task"""
    concurrency: int
    """maximum number of requests in flight (vllm)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class VllmParams:
    """Connection to the vLLM servers. Outputs do not depend on it, so no stage lists it in dvc.yaml."""

    urls: tuple[str, ...]
    """base URL of each server's OpenAI-compatible API; requests are balanced over the servers"""
    timeout_s: float
    """seconds per request"""
    attempts: int
    """attempts per request"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetParams:
    """Families, splits and the training lock."""

    train_until: datetime.date
    """the models are trained on adapters first seen up to this day"""
    test_share: float
    """share of families in the test split, 0 to 1"""
    validation_share: float
    """share of families in the validation split, on which choices are made; taken from the training split"""
    family_cosine: float
    """minimum cosine of sketches within a family"""
    salt: str
    """another salt assigns families to other splits"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConceptsParams:
    """Captioned images, whose gradients of the base model tell what its weights say about a concept."""

    corpus: str | None
    """a folder of captioned images, WebDataset .tar or parquet files, or a pattern of files; relative to the
    repository's root or absolute; null: none"""
    max_images: int
    """number of images of the corpus, a fixed sample"""
    renderings: bool
    """also use the captioned renderings of the training adapters"""
    image_size: int
    """side of the square that an image is cropped to, in px; a multiple of 16"""
    caption: Literal["named", "neutral"]
    """the prompt that the gradients are taken with: the caption of the image, or none"""
    noise_levels: tuple[float, ...]
    """σ of the noised images, 0 to 1"""
    draws: int
    """noise draws per image and noise level; an image's gradient is the mean over all"""
    min_images: int
    """number of images whose captions must contain a phrase of one or two words, so that it is a concept"""
    max_share: float
    """share of all images that may contain it, 0 to 1"""
    max_overlap: float
    """largest Jaccard index of its images and those of another concept, 0 to 1"""
    batch: int
    """images per forward and backward pass"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderParams:
    """The encoder of Eq. 1-5 and its training."""

    from_: str | None
    """key `from`: folder or Hugging Face id of a pretrained encoder, which is used as it is; null trains one"""
    from_revision: str | None
    """commit of the Hugging Face repository; required with an id, null with a folder"""
    preset: Preset
    """a key of `presets.ENCODER`"""
    variant: EncoderVariant
    """the preset's variant with the section's `overrides`"""
    steps: int
    """training steps"""
    batch: int
    """adapters per step"""
    dropout: float
    """of the transformer blocks, 0 to 1; this and the next two only if the variant regularizes"""
    slot_dropout: float
    """share of an adapter's slots that a training step hides, 0 to 1"""
    sketch_noise: float
    """noise added in training, relative to the norm of a slot's update"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexParams:
    """Writing of the index."""

    batch: int
    """adapters per write"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetrievalParams:
    """Defaults of a search, and the selection of adapters for an image."""

    k: int
    """number of adapters in a search result"""
    max_selected: int
    """maximum number of adapters that are selected for one image"""
    min_relevance: float
    """an adapter is selected if the probability that the prompt asks for what it does, beyond what the adapters
    selected before it do, is at least this"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionParams:
    """The gates of Eq. 6-9 and their training by Eq. 10."""

    from_: str | None
    """key `from`: folder or Hugging Face id of pretrained gates, which are used as they are; null trains some"""
    from_revision: str | None
    """as `encoder.from_revision`"""
    init: str | None
    """gates from which the training starts: a folder of pretrained gates, or a file in the layout of the paper's
    authors; null starts with random ones"""
    preset: Preset
    """a key of `presets.FUSION`"""
    variant: FusionVariant
    """the preset's variant with the section's `overrides`"""
    steps: int
    """training steps"""
    batch: int
    """images per step, all of one target adapter"""
    image_size: int
    """side of a training image, in px; a multiple of 16"""
    relevance_noise: float
    """standard deviation of the noise on the relevances 1 (target) and 0 (interfering adapter), clipped to 0..1"""
    validate_every: int | None
    """steps between measurements of the held-out loss: that of the validation split's adapters; null measures none,
    trains all steps and keeps the last gates, as the paper does"""
    patience: int
    """the training ends after this number of measurements without a lower held-out loss"""
    trajectories: int
    """of the objective `velocity`: images that are drawn to learn from, four per set of adapters"""
    trajectory_steps: int
    """steps in which such an image is drawn"""
    checkpointing: bool
    """recompute activations in the backward pass: slower, with far less memory"""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleParams:
    """The numbers in the rules by which several adapters act together."""

    velocity_factor: float
    """velocity: c of v0 + c · Σ (v_i - v0)"""
    velocity_share: float
    """velocity: share of the denoising steps, from the first; the others use the plain sum"""
    switch_steps: int
    """switch: consecutive denoising steps of one adapter"""
    density: float
    """ties, knots: share of the values, largest first, that are not set to 0"""
    drop: float
    """dare: probability with which a value is set to 0"""
    seed: int
    """dare: of the values that are set to 0"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationParams:
    """How images are generated, also those of experiments."""

    width: int
    """px, a multiple of 16, as is the height"""
    height: int
    steps: int
    """denoising steps"""
    guidance: float
    """guidance scale of FLUX.1-dev"""
    max_sequence_length: int
    """T5 tokens of a prompt, also in the training of the gates"""
    trigger_words: bool
    """add the first trigger word of each adapter to the prompt of `generate`"""
    method: Method
    """how several adapters act together: as the sum of their updates (direct), through the gates (gated), or by
    another rule"""
    rules: RuleParams
    text_encoders: bool
    """add an adapter's updates of the text encoders too, if its file has some"""
    batch: int
    """images per call of the pipeline"""


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgesParams:
    """The models that score generated images; none of them should generate images or write captions."""

    clip: str
    """transformers CLIPModel: a local folder or a Hugging Face id"""
    clip_revision: str | None
    """commit of the hub repository; required with an id, null with a folder"""
    vlm: str
    """vision-language model that answers the question: a local folder or a Hugging Face id"""
    vlm_revision: str | None
    """as `clip_revision`"""
    classifier: str | None
    """folder of a transformers image classifier with labels `field:value`; null: no classifier"""
    question: str
    """of VQAScore; {text} stands for the text that the image should show"""
    engine: Literal["transformers", "vllm"]
    """run the VLM in the process of the stage, or request answers from a vLLM server"""
    batch: int
    """images per forward pass (transformers) or requests in flight (vllm)"""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeParams:
    """The page of `autolora serve`: limits and sizes."""

    results: int
    """number of adapters per search, unless the visitor asks for more"""
    max_upload_mb: float
    """10^6 bytes of a LoRA file that is dropped onto the page"""
    max_uploads: int
    """number of uploads that are received at a time; further ones are refused"""
    max_waiting: int
    """number of images that wait to be generated; further ones are refused"""
    thumbnail_px: int
    """largest side of an image on a card"""
    max_image_px: int
    """largest side of an image among the details of an adapter"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshParams:
    """The nightly refresh."""

    commit: bool
    """commit catalog, digests and metrics to git"""
    timeout_h: float
    """hours after which a refresh, or a stage, fails"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """All sections of params.yaml; a function takes the sections it needs, not this."""

    models: ModelsParams
    hubs: HubsParams
    crawl: CrawlParams
    pool: PoolParams
    captions: CaptionsParams
    vllm: VllmParams
    dataset: DatasetParams
    concepts: ConceptsParams
    encoder: EncoderParams
    index: IndexParams
    retrieval: RetrievalParams
    fusion: FusionParams
    generation: GenerationParams
    judges: JudgesParams
    evaluation: EvaluationParams
    experiments: ExperimentsParams
    serve: ServeParams
    refresh: RefreshParams

    def __post_init__(self) -> None:
        """Raise ParamsError if a value is outside its range, or two values contradict each other."""
        for rule, holds, keys in RULES:
            for section, names in keys.items():
                for name in names:
                    value = getattr(_section(self, section), name)
                    _require(value is None or holds(value), f"{section}.{name}", value, rule)
        hubs = list(self.crawl.hubs)
        _require(bool(hubs), "crawl.hubs", hubs, "a list of at least one hub")
        _require(len(set(hubs)) == len(hubs), "crawl.hubs", hubs, "a list without repetitions")
        test, validation = self.dataset.test_share, self.dataset.validation_share
        rule = f"below 1 together with dataset.test_share, {test}"
        _require(test + validation < 1, "dataset.validation_share", validation, rule)
        encoder = self.encoder.variant
        readable = encoder.model != "ridge" or encoder.probe == "sketch"
        _require(readable, "encoder.overrides.probe", encoder.probe, "'sketch' for the model 'ridge'")
        rule = "false for the model 'transformer'"
        for name in ("hybrid", "concepts"):
            value = getattr(encoder, name)
            _require(encoder.model == "ridge" or not value, f"encoder.overrides.{name}", value, rule)
        rule = "false for the slots 'fused', since gradients are of the canonical ones"
        canonical = encoder.slots == "canonical" or not encoder.concepts
        _require(canonical, "encoder.overrides.concepts", encoder.concepts, rule)
        near, family = self.pool.near_duplicate_cosine, self.dataset.family_cosine
        rule = f"at most pool.near_duplicate_cosine, {near}"
        _require(family <= near, "dataset.family_cosine", family, rule)
        rule = "another model than models.vlm, whose captions the models are trained on"
        _require(self.judges.vlm != self.models.vlm, "judges.vlm", self.judges.vlm, rule)
        question = self.judges.question
        _require("{text}" in question, "judges.question", question, "a question with {text} in it")

    @property
    def inputs(self) -> dict[str, str | None]:
        """What lies outside the repository, of a stage each, by the name of the param that names it."""
        return {
            "concepts.corpus": self.concepts.corpus,
            "encoder.from": self.encoder.from_,
            "fusion.from": self.fusion.from_,
        }


def training_params(section: EncoderParams | FusionParams) -> dict[str, Any]:
    """Return the params of a training, without those that replace it by a pretrained model."""
    return {name: value for name, value in asdict(section).items() if name not in ("from_", "from_revision")}


def load(path: Path) -> Params:
    """Return the params of a params.yaml.

    Raises ParamsError with the dotted path of a wrong key or value and what is allowed there.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist: run from the root of an AutoLoRA repository") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    try:
        return read_section(Params, content)
    except ParamsError as error:
        raise ParamsError(f"{path}: {error}") from error


def _require(holds: bool, dotted: str, value: object, rule: str) -> None:
    if not holds:
        raise ParamsError(f"{dotted} is {value!r} but must be {rule}")


def _section(params: Params, dotted: str) -> Any:
    """Return a section by its dotted path, in which `overrides` stands for the section's variant."""
    section: Any = params
    for name in dotted.split("."):
        section = section.variant if name == "overrides" else getattr(section, name)
    return section
