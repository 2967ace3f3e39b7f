"""The training examples of the gates: images of adapters as latents, and their captions as embeddings."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from autolora.captions.store import read_captions
from autolora.dataset.store import TrainingRow
from autolora.fusion.training import Captions, EncodedAdapter
from autolora.pool import store as pool

ENCODE_BATCH = 16
"""images or captions per call of an encoder"""

logger = logging.getLogger(__name__)


def encode_adapters(
    root: Path, rows: Sequence[TrainingRow], pipeline: Any, size: int, tokens: int
) -> Iterator[EncodedAdapter]:
    """Yield the encoded images and captions of each row that has weights and a captioned image in the pool.

    size: side of the square that images are cropped to, in px. tokens: number of T5 states per caption.
    """
    texts = texts_by_image(root)
    for row in rows:
        images = [image for image in row.renderings if texts[image] and pool.has_rendering(root, image)]
        if not images or not pool.has_weights(root, row.sha256):
            logger.warning(
                "training without adapter %s: no weights or no captioned image in the pool", row.sha256
            )
            continue
        captions = [(index, text) for index, image in enumerate(images) for text in texts[image]]
        states, pooled = encode_captions(pipeline, [text for _, text in captions], tokens)
        yield EncodedAdapter(
            sha256=row.sha256,
            family=row.family,
            latents=_encode_images(pipeline, [pool.rendering_path(root, image) for image in images], size),
            states=states,
            pooled=pooled,
            image_of_caption=torch.tensor([index for index, _ in captions]),
        )


def texts_by_image(root: Path) -> defaultdict[str, list[str]]:
    """Return image sha256 -> its captions, ordered by prompt and VLM; an empty list for other images."""
    texts: defaultdict[str, list[str]] = defaultdict(list)
    for caption in sorted(
        read_captions(root), key=lambda caption: (caption.image, caption.prompt, caption.vlm)
    ):
        texts[caption.image].append(caption.text)
    return texts


@torch.no_grad()
def encode_captions(pipeline: Any, texts: Sequence[str], tokens: int) -> Captions:
    """Return T5 states (N, tokens, D) and CLIP features (N, d) of texts, on the CPU."""
    encoded = [
        pipeline.encode_prompt(prompt=list(batch), prompt_2=None, max_sequence_length=tokens)
        for batch in _batches(texts)
    ]
    return torch.cat([part[0].cpu() for part in encoded]), torch.cat([part[1].cpu() for part in encoded])


@torch.no_grad()
def _encode_images(pipeline: Any, paths: Sequence[Path], size: int) -> Tensor:
    return torch.cat([_encode_batch(pipeline, batch, size) for batch in _batches(paths)])


def _encode_batch(pipeline: Any, paths: Sequence[Path], size: int) -> Tensor:
    """Return packed latents (B, T, C) of images, with the scale and shift that the pipeline decodes them with."""
    vae = pipeline.vae
    pixels = torch.stack([_pixels(path, size) for path in paths]).to(vae.device, vae.dtype)
    latents = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    packed: Tensor = pipeline._pack_latents(latents, *latents.shape)
    return packed.cpu()


def _pixels(path: Path, size: int) -> Tensor:
    """Return the pixels (3, size, size), -1 to 1, of an image cropped to its central square."""
    with Image.open(path) as image:
        square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + ENCODE_BATCH] for start in range(0, len(items), ENCODE_BATCH))
