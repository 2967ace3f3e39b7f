"""CLIP similarity: cosines of unit features of a transformers CLIPModel, image-image and text-image.

Convention: features after the projections, L2-normalized; a similarity is a plain cosine (not times 100).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import normalize
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from autolora.errors import MissingArtifact
from autolora.storage.files import hash_folder

Features = NDArray[np.float32]

BATCH = 64


@dataclass(frozen=True, slots=True)
class Clip:
    """An image-text model that measures; `digest` is the sha256 of its folder."""

    model: Any
    tokenizer: Any
    processor: Any
    digest: str


def load_clip(folder: Path, device: str) -> Clip:
    """Load a CLIPModel folder with its tokenizer and image processor.

    Raises MissingArtifact when the folder is not one.
    """
    try:
        model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        processor = CLIPImageProcessorPil.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise MissingArtifact(
            f"{folder} is no CLIP model folder ({error}): set judges.clip in params.yaml to one"
        ) from error
    return Clip(model.eval().to(device), tokenizer, processor, hash_folder(folder))


@torch.inference_mode()
def image_features(clip: Clip, images: Sequence[Image.Image]) -> Features:
    """Return unit features (N, d) of N pictures."""
    parts = []
    for start in range(0, len(images), BATCH):
        batch = [image.convert("RGB") for image in images[start : start + BATCH]]
        pixels = clip.processor(images=batch, return_tensors="pt")["pixel_values"]
        parts.append(_pooled(clip.model.get_image_features(pixel_values=pixels.to(clip.model.device))))
    return np.concatenate(parts)


@torch.inference_mode()
def text_features(clip: Clip, texts: Sequence[str]) -> Features:
    """Return unit features (N, d) of N texts, each cut at the model's longest sequence."""
    longest = clip.model.config.text_config.max_position_embeddings
    parts = []
    for start in range(0, len(texts), BATCH):
        words = clip.tokenizer(
            list(texts[start : start + BATCH]),
            padding="max_length",
            truncation=True,
            max_length=longest,
            return_tensors="pt",
        )
        ids, mask = words["input_ids"], words["attention_mask"]
        device = clip.model.device
        parts.append(
            _pooled(clip.model.get_text_features(input_ids=ids.to(device), attention_mask=mask.to(device)))
        )
    return np.concatenate(parts)


def similarity(features: Features, references: Features) -> NDArray[np.float64]:
    """Return the mean cosine of each row of `features` (N, d) with all rows of `references` (M, d): (N,)."""
    cosines: NDArray[np.float64] = features.astype(np.float64) @ references.astype(np.float64).T
    return np.asarray(cosines.mean(axis=1))


def _pooled(output: Any) -> Features:
    tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    features: Features = normalize(tensor.float(), dim=-1).cpu().numpy()
    return features
