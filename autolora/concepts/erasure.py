"""Captions of images that were taken down: found and removed at once, before the stage runs again."""

from collections.abc import Collection
from pathlib import Path

from autolora.concepts.decoded import decoded_path
from autolora.concepts.store import images_path, phrases_path, read_images
from autolora.storage.files import read_rows


def find_captions(root: Path, images: Collection[str]) -> list[str]:
    """Return the captions in data/concepts of images, or of images of the corpus with the same pixels.

    images: their sha256.
    """
    if not images or not images_path(root).exists():
        return []
    pixels = {row["image"]: row["pixels"] for row in read_rows(decoded_path(root)) if row["pixels"]}
    same = {pixels[image] for image in images if image in pixels}
    return [
        row.caption for row in read_images(root) if row.sha256 in images or pixels.get(row.sha256) in same
    ]


def remove_tables(root: Path) -> None:
    """Remove the tables of images and phrases, so that the next `dvc repro` runs the stage, which writes them without
    what was taken down. The gradients stay, so it computes none of them again.
    """
    images_path(root).unlink(missing_ok=True)
    phrases_path(root).unlink(missing_ok=True)
