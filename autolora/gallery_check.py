"""Whether an adapter's images come from its weights, by gradients of the base model; nothing is trained.

The base model's gradient on an image, in the direction of descent, points where the update of a LoRA of such images
points. Other adapters serve for comparison: the mean gradient of one image of each is subtracted, as all images have it
in common, and the cosine with the adapter's own update is compared with the cosines with theirs.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autolora.concepts.denoising import DenoisingGradients
from autolora.dataset.store import captions_by_image, rows
from autolora.encoder.ridge import slot_units
from autolora.errors import MissingArtifact
from autolora.params import ConceptsParams
from autolora.pool import store as pool
from autolora.storage.files import Row, read_json, write_atomic
from autolora.storage.hashes import hash_value

MAX_OTHERS, MIN_OTHERS = 64, 8
"""adapters for comparison, of other families"""
MIN_SCORE = 1.5
"""of right images; on the playground .96 of right galleries reach it, and .04 of exchanged ones (bench/galleries.py)"""
MIN_NORM = 1e-20
"""smallest divisor of gradients and of differences of cosines"""

Captioned = tuple[str, str]
"""sha256 of a rendering, and its caption"""
Compute = Callable[[Sequence[Captioned]], Tensor]
"""from captioned renderings to the gradients of the base model (N, S, m, p)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryCheck:
    """How well the images of an adapter fit its weights."""

    images: int
    cosine: float
    """of the images' mean gradient and the adapter's update, mean over slots"""
    others: tuple[float, ...]
    """the same with the updates of other adapters"""

    @property
    def score(self) -> float:
        """Return by how many standard deviations of the others' cosines the own one exceeds their mean."""
        return (self.cosine - float(np.mean(self.others))) / max(float(np.std(self.others)), MIN_NORM)

    @property
    def fits(self) -> bool:
        """Whether the images come from the weights, probably."""
        return self.score >= MIN_SCORE

    @property
    def verdict(self) -> str:
        """Return the verdict as a phrase."""
        fits = "fit" if self.fits else "do not fit"
        return (
            f"{self.images} images {fits} the weights: the cosine of their gradient with the update, "
            f"{self.cosine:.3f}, is {self.score:.1f} standard deviations above those with {len(self.others)} other "
            f"adapters, at least {MIN_SCORE:g} expected"
        )


@dataclass(frozen=True, slots=True)
class Gallery:
    """The captioned renderings of an adapter."""

    sha256: str
    """of the adapter"""
    family: str
    images: tuple[Captioned, ...]


def read_galleries(root: Path) -> dict[str, Gallery]:
    """Return adapter -> gallery of the dataset, of the adapters with a captioned rendering that the pool still has."""
    captions = captions_by_image(root)
    galleries = {}
    for row in rows(root, "adapters"):
        images = tuple(
            (image, captions[image][0].text)
            for image in row["renderings"]
            if image in captions and pool.has_rendering(root, image)
        )
        if images:
            galleries[row["sha256"]] = Gallery(row["sha256"], row["family"], images)
    return galleries


def check_gallery(root: Path, adapter: str, compute: Compute, key: str) -> GalleryCheck:
    """Return the check of an adapter's renderings; that of an earlier call is reused.

    compute: called if the check is missing in cache/gallery_checks. key: hash of what determines the gradients.
    Raises MissingArtifact if the adapter has no captioned renderings, or too few other adapters have some.
    """
    galleries = read_galleries(root)
    if adapter not in galleries:
        raise MissingArtifact(
            f"the dataset has no captioned image of {adapter}: give an adapter with images, after `dvc repro dataset`"
        )
    own, others = galleries[adapter], choose_others(galleries, galleries[adapter].family)
    path = root / "cache" / "gallery_checks" / f"{adapter}.json"
    key = hash_value([key, own.images, [(other.sha256, other.images[0]) for other in others]])
    stored = _read_stored(path)
    if stored.get("key") != key:
        gradients = compute([*own.images, *(other.images[0] for other in others)])
        updates = read_updates(root, [own, *others])
        check = compare(gradients[: len(own.images)], gradients[len(own.images) :], updates)
        stored = {"key": key, "check": asdict(check)}
        write_atomic(path, json.dumps(stored))
    values = stored["check"]
    return GalleryCheck(**(values | {"others": tuple(values["others"])}))


def _read_stored(path: Path) -> Row:
    """Return the stored check; empty if there is none, or it is damaged."""
    try:
        return read_json(path) or {}
    except MissingArtifact:
        return {}


def choose_others(galleries: dict[str, Gallery], family: str) -> list[Gallery]:
    """Return up to MAX_OTHERS galleries of other families, at random, but the same for all adapters of a family.

    Raises MissingArtifact if there are fewer than MIN_OTHERS.
    """
    others = [gallery for gallery in galleries.values() if gallery.family != family]
    if len(others) < MIN_OTHERS:
        raise MissingArtifact(
            f"only {len(others)} adapters of other families have captioned images, and the check of a gallery compares "
            f"at least {MIN_OTHERS}: add adapters with images"
        )
    return sorted(others, key=lambda gallery: hash_value(gallery.sha256))[:MAX_OTHERS]


def read_updates(root: Path, galleries: Sequence[Gallery]) -> Tensor:
    """Return the sketches (N, S, m, p) of adapters. Raises MissingArtifact if one is missing."""
    return torch.stack([pool.load_sketch(root, gallery.sha256).values for gallery in galleries])


def compare(images: Tensor, references: Tensor, updates: Tensor) -> GalleryCheck:
    """Return the check of images with gradients (n, S, m, p), given those of one image of each other adapter (K, …).

    updates: sketches (1 + K, S, m, p) of the adapter and of the others.
    """
    scale = references.flatten(2).norm(dim=2).mean(0).clamp_min(MIN_NORM)[:, None, None]
    gradient = (images.mean(0) - references.mean(0)) / scale
    cosines = (slot_units(updates) @ slot_units(gradient[None])[0]).tolist()
    return GalleryCheck(images=len(images), cosine=cosines[0], others=tuple(cosines[1:]))


def compute_with(
    root: Path, load_gradients: Callable[[], DenoisingGradients], params: ConceptsParams
) -> Compute:
    """Return a function that computes the gradients of renderings of the pool with their captions as prompts."""

    def compute(renderings: Sequence[Captioned]) -> Tensor:
        gradients, parts = load_gradients(), []
        for start in range(0, len(renderings), params.batch):
            names, captions = zip(*renderings[start : start + params.batch], strict=True)
            images = []
            for name in names:
                with Image.open(pool.rendering_path(root, name)) as image:
                    images.append(image.convert("RGB"))
            parts.append(gradients.compute(images, names, captions))
        return torch.cat(parts)

    return compute
