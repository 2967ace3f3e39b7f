"""The training examples of the gates: images of adapters as latents, and their captions as embeddings.

What the text encoders compute is kept in cache/fusion_texts: they run once per caption that a training uses, also if it
is killed and continues, or another one follows.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from autolora.captions.store import encoded_path
from autolora.dataset.store import TrainingRow, locked_captions
from autolora.fusion.flow_matching import Captions, encode_captions, encode_images
from autolora.fusion.training_set import CaptionedAdapter, TrainingSet
from autolora.lora.factors import Lora
from autolora.lora.slots import slots
from autolora.params import PoolParams
from autolora.pool import evicted
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.storage.hashes import hash_value
from autolora.storage.images import open_image
from autolora.storage.tensor_files import load_or_compute

ADAPTERS_IN_MEMORY = 64
"""adapters whose weights are kept"""
IMAGES_IN_MEMORY = 1024
"""adapters whose latents are kept: for FLUX.1-dev 131 kB per image of 512 px"""
TEXTS_IN_MEMORY = 512
"""captions whose embeddings are kept: the T5 states of FLUX.1-dev are 4 MB per caption, in a file too"""

logger = logging.getLogger(__name__)


def find_examples(root: Path, rows: Sequence[TrainingRow]) -> list[CaptionedAdapter]:
    """Return the rows that have weights and a captioned image of a hub in the pool; the others are logged.

    Gates do not learn from drawings: an adapter would learn to draw what it draws.
    """
    texts = texts_by_image(root)
    examples = []
    for row in rows:
        images = [image for image in row.renderings if texts[image] and pool.has_rendering(root, image)]
        if row.drawn:
            continue
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


class ExampleReader:
    """Reads adapters, images and captions for a pipeline, the last used ones from memory."""

    def __init__(
        self, root: Path, pipeline: Any, bounds: PoolParams, *, base_files: str, size: int, tokens: int
    ) -> None:
        """bounds: limits on files of weights. base_files: says which files the pipeline was read from.

        size: side of the square that images are cropped to, in px. tokens: number of T5 states per caption.
        """
        self._root, self._pipeline, self._bounds = root, pipeline, bounds
        self._slots = slots(pipeline.transformer.config)
        self._size, self._tokens, self._base_files = size, tokens, base_files
        self._encode_text = lru_cache(TEXTS_IN_MEMORY)(self._read_text)
        self._encode_images = lru_cache(IMAGES_IN_MEMORY)(self._read_images)
        self._load_lora = lru_cache(ADAPTERS_IN_MEMORY)(self._read_lora)

    def training_set(self, adapters: Sequence[CaptionedAdapter]) -> TrainingSet:
        """Return a training set of adapters of the pool."""
        return TrainingSet(
            adapters=adapters,
            load_lora=self._load_lora,
            encode_images=self._encode_images,
            encode_texts=self.encode_texts,
        )

    def encode_texts(self, texts: Sequence[str]) -> Captions:
        """Return T5 states (N, L, D) and CLIP features (N, d) of texts, on the CPU.

        Each is encoded by itself, so that a text has the same embedding in every batch.
        """
        encoded = [self._encode_text(text) for text in texts]
        return torch.cat([states for states, _ in encoded]), torch.cat([pooled for _, pooled in encoded])

    def _read_text(self, text: str) -> Captions:
        path = encoded_path(self._root, text, hash_value([self._base_files, self._tokens]))

        def compute() -> dict[str, Tensor]:
            states, pooled = encode_captions(self._pipeline, [text], self._tokens)
            return {"states": states, "pooled": pooled}

        stored = load_or_compute(path, compute)
        return stored["states"], stored["pooled"]

    def _read_images(self, adapter: CaptionedAdapter) -> Tensor:
        evicted.fetch(self._root, "renderings", adapter.images)
        images = [_open(pool.rendering_path(self._root, image)) for image in adapter.images]
        return encode_images(self._pipeline, images, self._size)

    def _read_lora(self, sha256: str) -> Lora:
        return load_lora(self._root, sha256, self._slots, self._bounds, check_hash=False)


def texts_by_image(root: Path) -> defaultdict[str, list[str]]:
    """Return image sha256 -> its captions by the training lock, ordered by prompt; an empty list for other images."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for image, captions in locked_captions(root).items():
        texts[image] = [caption.text for caption in sorted(captions, key=lambda caption: caption.prompt)]
    return texts


def _open(path: Path) -> Image.Image:
    """Return the image of the pool, decoded."""
    with open_image(path) as image:
        return image.convert("RGB")
