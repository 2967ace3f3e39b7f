"""Copies of the pool's images in the sizes of the page: cache/web_images/<side>/, made on first use."""

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from PIL.ExifTags import Base

from autolora.catalog import takedowns
from autolora.pool.batches import file_path
from autolora.report.images import has_content, reduce_image
from autolora.storage.files import write_atomic

FOLDER = Path("cache", "web_images")
CARD_PX = 320
"""largest side of an image on a card"""
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
        path = self.root / FOLDER / str(side) / image[:2] / f"{image}.webp"
        source = file_path(self.root, "renderings", image)
        if image in erased_images(self.root) or not has_content(source):
            path.unlink(missing_ok=True)
            return None
        if not path.exists():
            try:
                reduced = reduce_image(source, side)
            except UNREADABLE:
                return None
            if reduced is None:
                return None
            write_atomic(path, reduced)
        return path.read_bytes()

    def size(self, image: str) -> tuple[int, int] | None:
        """Return the width and height of an upright image in px, read from its header; None if there is none."""
        path = file_path(self.root, "renderings", image)
        if image in erased_images(self.root) or not has_content(path):
            return None
        try:
            with Image.open(path) as opened:
                width, height = opened.size
                is_turned = opened.getexif().get(Base.Orientation) in TURNED
        except UNREADABLE:
            return None
        return (height, width) if is_turned else (width, height)
