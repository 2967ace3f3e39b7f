"""Copies of the pool's images in the sizes of the page: cache/web_images/<side>/, made on first use."""

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from autolora.catalog import takedowns
from autolora.errors import MissingArtifact
from autolora.pool import store as pool
from autolora.pool.batches import file_path
from autolora.pool.evicted import is_remote_only
from autolora.report.images import CARD_PX as CARD_PX
from autolora.report.images import FOLDER as FOLDER
from autolora.report.images import reduce_image, reduced_path
from autolora.storage.files import write_atomic
from autolora.storage.images import open_image

DETAILS_PX = 1024
"""largest side of an image among the details of an adapter"""
NAME = re.compile(r"[0-9a-f]{64}")
"""an image is named by its sha256 only, so that no name can leave the folder"""
TURNED = range(5, 9)
"""EXIF orientations with which the stored width is the height of the upright image"""
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""what Pillow raises; the pool of one's own files links to images, which may have been replaced since their check"""


def erased_images(root: Path) -> frozenset[str]:
    """Return the sha256 of the images that were taken down. Raises MissingArtifact if the list is damaged."""
    rows = takedowns.read(root).rows
    return frozenset(row.sha256 for row in rows if row.kind == "rendering" and row.sha256)


@dataclass(frozen=True, slots=True)
class Thumbnails:
    """The images of one project, in a few sizes."""

    root: Path
    sides: tuple[int, ...] = (CARD_PX, DETAILS_PX)
    """px; other sizes are not made"""

    def load(self, image: str, side: int) -> bytes | None:
        """Return an image as WebP, at most `side` px per side; None without a readable one, or if it was taken down."""
        if side not in self.sides or not NAME.fullmatch(image):
            return None
        path = reduced_path(self.root, image, side)
        if not self._has(image):
            path.unlink(missing_ok=True)
            return None
        if not path.exists():
            try:
                reduced = reduce_image(self._source(image), side)
            except UNREADABLE:
                return None
            except MissingArtifact:  # of an evicted batch, and the remote is away: the card stays
                return self.load(image, CARD_PX) if side != CARD_PX else None
            if reduced is None:
                return None
            write_atomic(path, reduced)
        return path.read_bytes()

    def size(self, image: str) -> tuple[int, int] | None:
        """Return the width and height of an upright image in px, read from its header; None if there is none.

        Of an image of an evicted batch, those of its card.
        """
        if not self._has(image):
            return None
        try:
            card = reduced_path(self.root, image, CARD_PX)
            path = card if self._is_evicted(image) else self._source(image)
            with open_image(path) as opened:
                width, height = opened.size
                is_turned = opened.getexif().get(Base.Orientation) in TURNED
        except UNREADABLE:
            return None
        return (height, width) if is_turned else (width, height)

    def _has(self, image: str) -> bool:
        return image not in erased_images(self.root) and pool.has_rendering(self.root, image)

    def _is_evicted(self, image: str) -> bool:
        return is_remote_only(self.root, "renderings", image)

    def _source(self, image: str) -> Path:
        """Return the path of an image; one of an evicted batch is fetched. To be on the page is no use of a batch."""
        if self._is_evicted(image):
            return pool.rendering_path(self.root, image)
        return file_path(self.root, "renderings", image)
