"""The sections of the data that the models are trained on: pool, captions and dataset."""

import datetime
from dataclasses import dataclass
from typing import Annotated, Literal

from autolora.storage.bounds import Bound, Count, Natural


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolParams:
    """Limits on LoRA files and images, the size of sketches, and the threshold for near-duplicates."""

    max_header_mb: float = 25.0
    """10^6 bytes"""
    max_rank: Count
    """maximum rank of the update of a slot"""
    min_known_keys: float = 1.0
    """minimum share of tensors whose names match a known layout, 0 to 1"""
    max_image_mb: float = 20.0
    """10^6 bytes"""
    max_image_px: int = 50_000_000
    """width times height"""
    sketch_size: Count
    """m = p: rows and columns of the sketch of a slot"""
    near_duplicate_cosine: Annotated[float, Bound("at most 1", lambda value: value <= 1)]
    """cosine of two fingerprints from which the later adapter is a near-duplicate of the earlier one"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingsParams:
    """Images that adapters without renderings draw of themselves."""

    per_day: Natural | None
    """maximum number of adapters that draw on a day; null is all"""
    share: Annotated[float, Bound("above 0 and at most 1", lambda value: 0 < value <= 1)]
    """random share of the adapters without renderings that draw"""
    restricted: bool
    """whether adapters that are marked nsfw, or show a real person, draw too"""


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
    max_tokens: Count
    """maximum length of a caption"""
    max_image_side: int = 1024
    """px; an image whose longer side exceeds it is downsized before it is captioned, so that the context of the model
    holds it"""
    batch: Count
    """images per task, and in a pass of the model (transformers) or requests in flight (vllm)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetParams:
    """Families, splits and the training lock."""

    train_until: datetime.date
    """the models are trained on adapters first seen up to this day"""
    test_share: Annotated[float, Bound("above 0 and below 1", lambda value: 0 < value < 1)]
    """share of families in the test split, 0 to 1"""
    validation_share: Annotated[float, Bound("at least 0 and below 1", lambda value: 0 <= value < 1)]
    """share of families in the validation split, on which choices are made; taken from the training split"""
    family_cosine: float
    """minimum cosine of sketches within a family"""
    salt: str = "autolora"
    """another salt assigns families to other splits"""
