"""How an image was made that a visitor drops onto the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.errors import MissingArtifact, RefusedFile
from autolora.params import PoolParams
from autolora.provenance import describe_provenance, read_provenance


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The provenance of an image."""

    facts: dict[str, str]
    """label -> text"""
    provenance: dict[str, Any]
    """as the image contains it"""

    @property
    def adapters(self) -> list[dict[str, Any]]:
        """Return the adapters that the image was made with."""
        adapters: list[dict[str, Any]] = self.provenance["adapters"]
        return adapters


def read_image(path: Path, bounds: PoolParams) -> ImageRecord:
    """Return how an uploaded image was made.

    Raises RefusedFile if it is too large to be opened, MissingArtifact if it contains no valid provenance.
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
        provenance = read_provenance(path)
        return ImageRecord(describe_provenance(provenance), provenance)
    except MissingArtifact as error:
        raise MissingArtifact(str(error).replace(str(path), "the image")) from error
