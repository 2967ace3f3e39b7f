"""What the gates learn from: the training adapters' pictures as latents, and their captions as embeddings."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from autolora.captions.store import captions
from autolora.dataset.store import TrainingRow
from autolora.fusion.training import Example
from autolora.pool import store as pool

AT_ONCE = 16

logger = logging.getLogger(__name__)


def encode(
    root: Path, rows: Sequence[TrainingRow], pipeline: Any, size: int, tokens: int
) -> Iterator[Example]:
    """Yield the encoded pictures and captions of each row that still has its weights and a captioned picture.

    size: side of the square that pictures are cropped to, in px. tokens: of the T5 states.
    """
    texts = defaultdict(list)
    for caption in sorted(captions(root), key=lambda caption: (caption.image, caption.prompt, caption.vlm)):
        texts[caption.image].append(caption.text)
    for row in rows:
        images = [
            image for image in row.renderings if texts[image] and pool.rendering_path(root, image).exists()
        ]
        if not images or not pool.weights_path(root, row.sha256).exists():
            logger.warning(
                "adapter %s has left the pool or has no captioned picture: not learned from", row.sha256
            )
            continue
        described = [(index, text) for index, image in enumerate(images) for text in texts[image]]
        states, pooled = encode_texts(pipeline, [text for _, text in described], tokens)
        yield Example(
            sha256=row.sha256,
            family=row.family,
            latents=_encode_pictures(pipeline, [pool.rendering_path(root, image) for image in images], size),
            states=states,
            pooled=pooled,
            picture=torch.tensor([index for index, _ in described]),
        )


@torch.no_grad()
def encode_texts(pipeline: Any, texts: Sequence[str], tokens: int) -> tuple[Tensor, Tensor]:
    """Return T5 states (N, tokens, D) and CLIP features (N, d) of texts, on the CPU."""
    parts = [
        pipeline.encode_prompt(prompt=list(part), prompt_2=None, max_sequence_length=tokens)
        for part in _parts(texts)
    ]
    return torch.cat([part[0].cpu() for part in parts]), torch.cat([part[1].cpu() for part in parts])


@torch.no_grad()
def _encode_pictures(pipeline: Any, paths: Sequence[Path], size: int) -> Tensor:
    return torch.cat([_encode_some(pipeline, part, size) for part in _parts(paths)])


def _encode_some(pipeline: Any, paths: Sequence[Path], size: int) -> Tensor:
    """Return packed latents (n, T, C) of pictures, scaled and shifted as the pipeline decodes them."""
    vae = pipeline.vae
    pixels = torch.stack([_pixels(path, size) for path in paths]).to(vae.device, vae.dtype)
    latents = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    packed: Tensor = pipeline._pack_latents(latents, *latents.shape)
    return packed.cpu()


def _pixels(path: Path, size: int) -> Tensor:
    """Return a picture (3, size, size), -1 to 1, cropped to its middle square."""
    with Image.open(path) as image:
        square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def _parts(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))
