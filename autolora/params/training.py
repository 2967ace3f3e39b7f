"""The sections of the trained models: encoder and gates."""

from dataclasses import asdict, dataclass
from typing import Any

from autolora.presets import Preset
from autolora.presets.encoder import EncoderVariant
from autolora.presets.fusion import FusionVariant
from autolora.storage.bounds import Count, Side

CLIP = "clip"
MODEL_NAMES = ("from_", "from_revision", "language", "language_revision")


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderParams:
    """The encoder of Eq. 1-5 and its training."""

    from_: str | None
    """key `from`: publication (a folder or a Hugging Face id) whose encoder is used as it is; null trains one"""
    from_revision: str | None
    """commit of the Hugging Face repository; required with an id, null with a folder"""
    language: str
    """sentence encoder by which captions and the parts of a prompt are compared: a folder, `package:NAME`, or a Hugging
    Face id; CLIP: none, whole prompts are compared in the space of the base model's text encoder"""
    language_revision: str | None
    """as `from_revision`"""
    preset: Preset
    """a key of `presets.encoder.ENCODER`"""
    variant: EncoderVariant
    """the preset's variant with the section's `overrides`"""
    seed: int = 0
    """that of the file"""

    @property
    def trains_transformer(self) -> bool:
        """Return whether the stage trains a transformer, by several processes if there are some."""
        return self.from_ is None and self.variant.model == "transformer"

    @property
    def has_language(self) -> bool:
        """Return whether a training learns a language."""
        return self.language != CLIP


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionParams:
    """The gates of Eq. 6-9 and their training by Eq. 10."""

    preset: Preset
    """a key of `presets.fusion.FUSION`"""
    variant: FusionVariant
    """the preset's variant with the section's `overrides`"""
    steps: Count
    """training steps"""
    batch: Count
    """images per step, all of one target adapter"""
    image_size: Side
    """side of a training image, in px; a multiple of 16"""
    relevance_noise: float = 0.15
    """standard deviation of the noise on the relevances 1 (target) and 0 (interfering adapter), clipped to 0..1"""
    validate_every: Count | None
    """steps between measurements of the held-out loss: that of the validation split's adapters; null measures none,
    trains all steps and keeps the last gates, as the paper does"""
    patience: int = 3
    """the training ends after this number of measurements without a lower held-out loss"""
    checkpointing: bool
    """recompute activations in the backward pass: slower, with far less memory"""
    seed: int = 0
    """that of the file"""


def training_params(section: EncoderParams | FusionParams) -> dict[str, Any]:
    """Return the params of a training, without those that name models."""
    return {name: value for name, value in asdict(section).items() if name not in MODEL_NAMES}
