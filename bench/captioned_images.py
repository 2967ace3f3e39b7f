"""Captioned images of concepts for `bench.alignment`, and the prompts that gradients on them are taken with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from autolora.concepts.items import IMAGE_SUFFIXES
from autolora.errors import MissingArtifact


@dataclass(frozen=True, slots=True, eq=False)
class CaptionedImages:
    """Images of one concept, with the prompts that their gradients are taken with."""

    images: Sequence[Image.Image]
    prompts: Sequence[str]


def read_images(folder: Path) -> CaptionedImages:
    """Return the images of a folder and their captions, empty for an image without one.

    Raises MissingArtifact if there is no image.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise MissingArtifact(
            f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)}): put the images of its LoRA there"
        )
    texts = [path.with_suffix(".txt") for path in paths]
    captions = [text.read_text(encoding="utf-8").strip() if text.exists() else "" for text in texts]
    return CaptionedImages([Image.open(path).convert("RGB") for path in paths], captions)


def by_prompt(images: Mapping[str, CaptionedImages]) -> dict[str, dict[str, CaptionedImages]]:
    """Return prompt -> images with the empty prompt and, if all have captions, with these; and, as a control of what
    the captions alone give, with the captions of another concept's images: image i goes to the i-th concept after its
    own.
    """
    tables = {
        "empty prompt": {
            name: CaptionedImages(rows.images, [""] * len(rows.images)) for name, rows in images.items()
        }
    }
    if all(all(rows.prompts) for rows in images.values()):
        tables |= {"captions": dict(images), "captions, images of other concepts": exchange_images(images)}
    return tables


def exchange_images(images: Mapping[str, CaptionedImages]) -> dict[str, CaptionedImages]:
    """Return each concept's captions with one image after the other of the concepts that follow it."""
    names = list(images)
    exchanged = {}
    for row, (name, captioned) in enumerate(images.items()):
        others = names[row + 1 :] + names[:row]
        galleries = [images[others[i % len(others)]].images for i in range(len(captioned.prompts))]
        chosen_images = [rows[i % len(rows)] for i, rows in enumerate(galleries)]
        exchanged[name] = CaptionedImages(chosen_images, captioned.prompts)
    return exchanged
