"""How an image was made: one that the page has generated, or one that a visitor drops onto it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.errors import MissingArtifact, RefusedFile
from autolora.generation.provenance import describe_provenance, read_provenance
from autolora.params import PoolParams
from autolora.storage.files import raising_reading_failed
from autolora.wording import printable


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The provenance of an image."""

    facts: dict[str, str]
    """label -> text"""
    provenance: dict[str, Any]
    """as the image contains it"""

    @property
    def names(self) -> dict[str, str]:
        """Return sha256 -> hub and id of the adapters that the image was made with, as it states them."""
        return {
            str(adapter["sha256"]): printable(f"{adapter['hub']}:{adapter['id']}")
            for adapter in self.provenance["adapters"]
        }


def read_image(path: Path, bounds: PoolParams) -> ImageRecord:
    """Return how an uploaded image was made.

    Raises RefusedFile if it is too large to be opened, MissingArtifact if it contains no valid provenance,
    ReadingFailed if it cannot be read for another reason.
    """
    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError as error:
        raise RefusedFile("image-too-large", f"the image has more px than allowed: {error}") from error
    except Exception as error:  # Pillow raises many types on damaged files
        raise MissingArtifact("the file is not a PNG image, as `autolora generate` writes them") from error
    if pixels > bounds.max_image_px:
        raise RefusedFile(
            "image-too-large", f"the image has {pixels} px, but at most {bounds.max_image_px} are allowed"
        )
    try:
        with raising_reading_failed("the image"):
            return make_record(read_provenance(path))
    except MissingArtifact as error:
        raise MissingArtifact(str(error).replace(str(path), "the image")) from error


def make_record(provenance: dict[str, Any]) -> ImageRecord:
    """Return the record of an image with this provenance. Raises MissingArtifact if a field is missing."""
    return ImageRecord(describe_provenance(provenance), provenance)
