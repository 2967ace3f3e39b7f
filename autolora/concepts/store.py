"""The concepts on disk, in data/concepts.

images.jsonl     one row per captioned image
phrases.jsonl    one row per concept: its phrase, and its images as numbers of rows of images.jsonl
gradients/       the gradient sketches of the images (autolora/concepts/shards.py)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from autolora.concepts.shards import folder, read_gradients
from autolora.errors import MissingArtifact, rerun
from autolora.storage.files import read_rows

MIN_NORM = 1e-20
"""smallest divisor of a slot's gradients"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedImage:
    """One line of data/concepts/images.jsonl."""

    sha256: str
    """of the file"""
    caption: str
    source: str
    """where it was first found: a path or member of the corpus, or `renderings`"""
    families: tuple[str, ...]
    """families of the training adapters whose rendering it is, also if the corpus contains it; usually none there"""
    gradient: str
    """key of its gradient; images with several captions may share one"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Phrase:
    """One line of data/concepts/phrases.jsonl: a phrase that the captions of some images contain."""

    phrase: str
    images: tuple[int, ...]
    """numbers of its rows in images.jsonl, from 0"""


@dataclass(frozen=True, slots=True)
class Concept:
    """A phrase that captions of several images have in common."""

    phrase: str
    captions: tuple[str, ...]
    """the captions that contain it, one per captioned image"""
    families: frozenset[str]
    """families of the training adapters whose renderings are among its images; empty if all are of the corpus"""


@dataclass(frozen=True, slots=True, eq=False)
class Concepts:
    """All concepts, with the gradients of the base on their images."""

    concepts: tuple[Concept, ...]
    rows: Tensor
    """(C, S, m, p) float32: mean gradient sketch (the direction of descent) of a concept's images, less the mean over
    all images; each slot is first divided by its mean norm over all images. (0, 0, 0, 0) if there are no concepts"""
    captions: tuple[str, ...]
    """captions of all images"""


def images_path(root: Path) -> Path:
    """Return the path of the table of captioned images."""
    return folder(root) / "images.jsonl"


def phrases_path(root: Path) -> Path:
    """Return the path of the table of phrases."""
    return folder(root) / "phrases.jsonl"


def read_images(root: Path) -> list[CaptionedImage]:
    """Return all captioned images, in the order of the file. Raises MissingArtifact if the stage has not run."""
    path = images_path(root)
    if not path.exists():
        raise MissingArtifact(f"{path} does not exist: the stage 'concepts' has not run; {rerun('concepts')}")
    return [CaptionedImage(**(row | {"families": tuple(row["families"])})) for row in read_rows(path)]


def read_phrases(root: Path) -> list[Phrase]:
    """Return the phrases, in the order of the file."""
    return [
        Phrase(phrase=row["phrase"], images=tuple(row["images"])) for row in read_rows(phrases_path(root))
    ]


def load_concepts(root: Path) -> Concepts:
    """Return the concepts; without images, none.

    Raises MissingArtifact if the stage has not run, or a gradient is missing or damaged.
    """
    images, phrases = read_images(root), read_phrases(root)
    if not phrases:
        return Concepts((), torch.zeros(0, 0, 0, 0), tuple(image.caption for image in images))
    concepts = []
    for phrase in phrases:
        own = [images[row] for row in phrase.images]
        families = frozenset(family for image in own for family in image.families)
        concepts.append(Concept(phrase.phrase, tuple(image.caption for image in own), families))
    keys = [image.gradient for image in images]
    rows = _mean_gradients(root, keys, [range(len(images)), *(phrase.images for phrase in phrases)])
    return Concepts(tuple(concepts), rows[1:] - rows[0], tuple(image.caption for image in images))


def _mean_gradients(root: Path, keys: Sequence[str], groups: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean gradient (G, S, m, p) of each group of images, each slot divided by its mean norm over all.

    keys: of the gradient of each image. groups: numbers of images. Reads the gradients twice, shard by shard.
    """
    column = {key: index for index, key in enumerate(dict.fromkeys(keys))}
    weights = torch.zeros(len(groups), len(column))
    for row, group in enumerate(groups):
        for image in group:
            weights[row, column[keys[image]]] += 1 / len(group)
    everything = torch.bincount(torch.tensor([column[key] for key in keys])) / len(keys)
    norms = sum(
        everything[[column[key] for key in part]] @ gradients.flatten(2).norm(dim=2)
        for part, gradients in read_gradients(root, column)
    )
    scale = torch.as_tensor(norms).clamp_min(MIN_NORM)[:, None, None]
    means = sum(
        torch.tensordot(weights[:, [column[key] for key in part]], gradients / scale, dims=1)
        for part, gradients in read_gradients(root, column)
    )
    return torch.as_tensor(means)
