"""How an image was made: one that the page has generated, or one that a visitor drops onto it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from autolora.errors import MissingArtifact, RefusedFile
from autolora.fusion.gate_means import GateMeans
from autolora.generation.provenance import MEAN_GATES, describe_provenance, read_provenance
from autolora.params import PoolParams
from autolora.storage.files import raising_reading_failed
from autolora.web.gate_heatmap import GateHeatmap, gate_heatmaps
from autolora.wording import printable

MAX_HEATMAPS = 16
"""adapters up to which their mean gates are drawn; those of more are described only"""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """The provenance of an image."""

    facts: dict[str, str]
    """label -> text"""
    heatmaps: tuple[GateHeatmap, ...]
    """of the mean gates; none if the adapters did not act through gates"""
    provenance: dict[str, Any]
    """as the image contains it"""

    @property
    def other_facts(self) -> dict[str, str]:
        """Return the facts that the heat maps do not show."""
        return {
            label: text for label, text in self.facts.items() if not (self.heatmaps and label == MEAN_GATES)
        }

    @property
    def names(self) -> dict[str, str]:
        """Return sha256 -> hub and id of the adapters that the image was made with, as it states them."""
        return _names(self.provenance)


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
    facts = describe_provenance(provenance)  # which checks the fields
    return ImageRecord(facts, tuple(_draw_heatmaps(provenance)), provenance)


def _draw_heatmaps(provenance: Mapping[str, Any]) -> list[GateHeatmap]:
    stored, names = provenance.get("gate_means"), _names(provenance)
    if not stored or len(stored["adapters"]) > MAX_HEATMAPS:
        return []
    return gate_heatmaps(GateMeans.from_json(stored), lambda sha256: names.get(sha256, sha256[:8]))


def _names(provenance: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(adapter["sha256"]): printable(f"{adapter['hub']}:{adapter['id']}")
        for adapter in provenance["adapters"]
    }
