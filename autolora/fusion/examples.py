"""The training examples of the gates: images of adapters as latents, and their captions as embeddings."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from autolora.captions.store import read_captions
from autolora.dataset.store import TrainingRow
from autolora.flow_matching import encode_captions, encode_images
from autolora.fusion.training import CaptionedAdapter, EncodedAdapter
from autolora.pool import store as pool

logger = logging.getLogger(__name__)


def find_examples(root: Path, rows: Sequence[TrainingRow]) -> list[CaptionedAdapter]:
    """Return the rows that have weights and a captioned image in the pool; the others are logged."""
    texts = texts_by_image(root)
    examples = []
    for row in rows:
        images = [image for image in row.renderings if texts[image] and pool.has_rendering(root, image)]
        if not images or not pool.has_weights(root, row.sha256):
            logger.warning(
                "training without adapter %s: no weights or no captioned image in the pool", row.sha256
            )
            continue
        captions = [(index, text) for index, image in enumerate(images) for text in texts[image]]
        examples.append(
            CaptionedAdapter(
                sha256=row.sha256, family=row.family, images=tuple(images), captions=tuple(captions)
            )
        )
    return examples


def encode_example(
    root: Path, example: CaptionedAdapter, pipeline: Any, size: int, tokens: int
) -> EncodedAdapter:
    """Return the encoded images and captions of an example.

    size: side of the square that images are cropped to, in px. tokens: number of T5 states per caption.
    """
    states, pooled = encode_captions(pipeline, [text for _, text in example.captions], tokens)
    images = [_open(pool.rendering_path(root, image)) for image in example.images]
    return EncodedAdapter(
        latents=encode_images(pipeline, images, size),
        states=states,
        pooled=pooled,
        image_of_caption=torch.tensor([index for index, _ in example.captions]),
    )


def texts_by_image(root: Path) -> defaultdict[str, list[str]]:
    """Return image sha256 -> its captions, ordered by prompt and VLM; an empty list for other images."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for caption in sorted(
        read_captions(root), key=lambda caption: (caption.image, caption.prompt, caption.vlm)
    ):
        texts[caption.image].append(caption.text)
    return texts


def _open(path: Path) -> Image.Image:
    """Return the image of the pool, decoded."""
    with Image.open(path) as image:
        return image.convert("RGB")
