"""How an image was made that a visitor drops onto the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.errors import MissingArtifact
from autolora.generation.provenance import describe_provenance, read_provenance
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


def read_image(path: Path) -> ImageRecord:
    """Return how an uploaded image was made.

    Raises MissingArtifact as `read_provenance` and `describe_provenance`, ReadingFailed if the image cannot be read for
    another reason.
    """
    try:
        with raising_reading_failed("the image"):
            provenance = read_provenance(path)
            return ImageRecord(describe_provenance(provenance), provenance)
    except MissingArtifact as error:
        message = str(error).partition(": cannot identify image file")[0]
        raise MissingArtifact(message.replace(str(path), "the image")) from error
