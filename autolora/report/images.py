"""Images reduced for a page, as upright WebP. Small ones keep their pixels: smoothed, they would look unfinished."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from autolora.storage.images import open_image

FOLDER = Path("cache", "web_images")
SMALL_PX = 128
"""shorter side up to which an image keeps its pixels, if its longer side fits"""
CARD_PX = 320
"""largest side of an image on a card"""
LOSSY_QUALITY = 84
LOSSLESS_EFFORT = 50
"""of compression, 0 to 100"""
METHOD = 2
"""of WebP, 0 (fast) to 6"""


def reduced_path(root: Path, image: str, side: int) -> Path:
    """Return the path of the copy of an image (sha256) in a size of the page: cache/web_images/<side>/."""
    return root / FOLDER / str(side) / image[:2] / f"{image}.webp"


def reduce_image(path: Path, max_side: int) -> bytes | None:
    """Return an image as WebP, at most `max_side` px per side; a small one enlarged by the largest whole factor.

    None if the file does not exist, or is empty because it was taken down. Raises as
    `autolora.storage.images.open_image` if it is damaged.
    """
    if not has_content(path):
        return None
    with open_image(path) as opened:
        image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    is_small = min(image.size) <= SMALL_PX and max(image.size) <= max_side
    if is_small:
        factor = max_side // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    else:
        image.thumbnail((max_side, max_side))
    stream = io.BytesIO()
    quality = LOSSLESS_EFFORT if is_small else LOSSY_QUALITY
    image.save(stream, format="WEBP", lossless=is_small, quality=quality, method=METHOD)
    return stream.getvalue()


def has_content(path: Path) -> bool:
    """Return whether an image exists; one that was taken down is empty."""
    return path.is_file() and path.stat().st_size > 0
