"""The models of params.yaml on the meta device: true layers, and no weights."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from torch import nn

from autolora import models
from autolora.errors import MissingArtifact
from autolora.params import JudgesParams, ModelsParams

CONFIGS = Path(__file__).with_name("hub_models.yaml")
PARTS_OF_SEARCH = ("transformer", "text_encoder")
"""what the folder of a published encoder has of a pipeline"""
PARTS = (*PARTS_OF_SEARCH, "text_encoder_2", "vae")


@dataclass(frozen=True)
class MetaPipeline:
    """The parts of a FluxPipeline, each built when it is needed, in the precision of the pipeline."""

    configs: Mapping[str, Mapping[str, Any]]
    """part -> its config"""
    dtype: torch.dtype

    @cached_property
    def text_encoder(self) -> Any:
        """CLIP's text encoder."""
        from transformers import CLIPTextConfig, CLIPTextModel

        return _build(lambda: CLIPTextModel(CLIPTextConfig(**self.configs["text_encoder"])), self.dtype)

    @cached_property
    def text_encoder_2(self) -> Any:
        """T5's encoder."""
        from transformers import T5Config, T5EncoderModel

        return _build(lambda: T5EncoderModel(T5Config(**self.configs["text_encoder_2"])), self.dtype)

    @cached_property
    def vae(self) -> Any:
        """The autoencoder of images."""
        autoencoder, config = models.diffusers_class("AutoencoderKL"), dict(self.configs["vae"])
        return _build(lambda: autoencoder.from_config(config), self.dtype)

    @cached_property
    def transformer(self) -> Any:
        """The transformer with all its blocks."""
        return self.build_transformer()

    def build_transformer(self, **changes: int) -> Any:
        """Return the transformer with other values in its config, e.g. fewer blocks."""
        flux, config = (
            models.diffusers_class("FluxTransformer2DModel"),
            dict(self.configs["transformer"]) | changes,
        )
        transformer = _build(lambda: flux.from_config(config), self.dtype)
        transformer._hf_hook = SimpleNamespace(
            execution_device="meta"
        )  # as accelerate says where a model runs
        return transformer

    @cached_property
    def size(self) -> int:
        """The bytes of all weights."""
        return sum(weight_bytes(getattr(self, part)) for part in PARTS)


def pipeline(params: ModelsParams, parts: Sequence[str] = PARTS) -> MetaPipeline:
    """Return these parts of the base pipeline, and those that are there.

    Raises as `models.resolve`, and MissingArtifact if a config cannot be read.
    """
    known = _known(params.pipeline)
    if known is None:
        folder = models.resolve(params.pipeline, params.pipeline_revision, ("*/config.json",))
        there = [part for part in PARTS if part in parts or (folder / part / "config.json").is_file()]
        known = {part: _read(folder / part / "config.json") for part in there}
    else:
        known = {**known, "transformer": models.transformer_config(params)}
    return MetaPipeline(known, models.dtype(params))


def vlm(params: ModelsParams | JudgesParams, dtype: torch.dtype) -> Any:
    """Return the vision-language model of a section of params.yaml. Raises as `pipeline`."""
    from transformers import AutoModelForImageTextToText

    config = _transformers_config(params.vlm, params.vlm_revision)
    return _build(lambda: AutoModelForImageTextToText.from_config(config, trust_remote_code=False), dtype)


def captioner_bytes(params: ModelsParams) -> float:
    """Return the bytes of the captioning model's weights: those of its files, or in 16 bits if it is a hub's.

    Raises as `pipeline`.
    """
    files = sum(file.stat().st_size for file in Path(params.vlm).glob("*.safetensors"))
    return float(files or weight_bytes(vlm(params, torch.bfloat16)))


def judge_clip(params: JudgesParams) -> Any:
    """Return the CLIP model that judges, in float32. Raises as `pipeline`."""
    from transformers import CLIPModel

    config = _transformers_config(params.clip, params.clip_revision)
    return _build(lambda: CLIPModel(config), torch.float32)


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights."""
    return sum(parameter.nbytes for parameter in model.parameters())


def _transformers_config(name: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    known = _known(name)
    if known is not None:
        return AutoConfig.for_model(**known)
    folder = models.resolve(name, revision, ("config.json",))
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise MissingArtifact(f"cannot read the config of {folder}: {error}; build or download it") from error


def _known(name: str) -> Mapping[str, Any] | None:
    """Return the config of a hub's model that this package contains; None for others, and for folders."""
    content: Mapping[str, Any] = yaml.safe_load(CONFIGS.read_text(encoding="utf-8"))
    return None if Path(name).is_dir() else content.get(name)


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingArtifact(
            f"cannot read {path}: {error}; check that models.pipeline in params.yaml is a FluxPipeline"
        ) from error
    return content


def _build(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """Return a frozen model on the meta device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("meta"):
            return make().eval().requires_grad_(False)
    finally:
        torch.set_default_dtype(before)
