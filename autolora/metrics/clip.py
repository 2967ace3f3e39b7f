"""CLIP similarity, image to image and text to image: cosines of the unit features of a transformers CLIPModel.

Convention: features after the projections, L2-normalized; a similarity is a plain cosine, not multiplied by 100.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from autolora.errors import MissingArtifact
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.hashes import hash_folder

BATCH = 64


@dataclass(frozen=True, slots=True)
class Clip:
    """A CLIP model used as a judge; `digest` is the sha256 of its folder."""

    model: Any
    tokenizer: Any
    processor: Any
    digest: str


def load_clip(folder: Path, device: str) -> Clip:
    """Load a CLIPModel, its tokenizer and its image processor from a folder.

    Raises MissingArtifact when the folder is not a CLIP model.
    """
    try:
        model = CLIPModel.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        processor = CLIPImageProcessorPil.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise MissingArtifact(
            f"{folder} is not the folder of a transformers CLIPModel ({error}): correct judges.clip in params.yaml"
        ) from error
    return Clip(model.eval().to(device), tokenizer, processor, hash_folder(folder))


@torch.inference_mode()
def image_features(clip: Clip, images: Sequence[Image.Image]) -> Float32Array:
    """Return unit features (N, d) of N images."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = [image.convert("RGB") for image in images[start : start + BATCH]]
        pixels = clip.processor(images=batch, return_tensors="pt")["pixel_values"]
        parts.append(_pooled(clip.model.get_image_features(pixel_values=pixels.to(clip.model.device))))
    return np.concatenate(parts)


@torch.inference_mode()
def text_features(clip: Clip, texts: Sequence[str]) -> Float32Array:
    """Return unit features (N, d) of N texts, each truncated to the model's maximum length."""
    max_length = clip.model.config.text_config.max_position_embeddings
    parts = []
    for start in range(0, len(texts), BATCH):
        tokens = clip.tokenizer(
            list(texts[start : start + BATCH]),
            padding="max_length",
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        )
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        device = clip.model.device
        parts.append(
            _pooled(clip.model.get_text_features(input_ids=ids.to(device), attention_mask=mask.to(device)))
        )
    return np.concatenate(parts)


def similarity(features: Float32Array, references: Float32Array) -> Float64Array:
    """Return the mean cosine of each row of `features` (N, d) with all rows of `references` (M, d): (N,)."""
    cosines: Float64Array = features.astype(np.float64) @ references.astype(np.float64).T
    return np.asarray(cosines.mean(axis=1))


def _pooled(output: Any) -> Float32Array:
    tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    features: Float32Array = normalize(tensor.float(), dim=-1).cpu().numpy()
    return features
