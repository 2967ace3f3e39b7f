"""Images reduced for a page, as upright WebP. Small ones keep their pixels: smoothed, they would look unfinished."""

import io
from pathlib import Path

from PIL import Image, ImageOps

SMALL_PX = 128
"""shorter side up to which an image keeps its pixels, if its longer side fits"""
LOSSY_QUALITY = 84
LOSSLESS_EFFORT = 50
"""of compression, 0 to 100"""
METHOD = 2
"""of WebP, 0 (fast) to 6"""
SETTINGS = (SMALL_PX, LOSSY_QUALITY, LOSSLESS_EFFORT, METHOD)
"""what decides, beside the arguments, how an image is reduced"""


def reduce_image(
    path: Path, max_side: int, lossless: bool = True, *, enlarge: bool = False
) -> tuple[bytes, bool] | None:
    """Return an image as WebP, at most `max_side` px per side, and whether it keeps its pixels.

    lossless: whether an image that keeps its pixels is compressed without loss. enlarge: whether it is enlarged by the
    largest whole factor that fits, for a page that does not tell browsers to enlarge it without smoothing.
    None if the file does not exist, or is empty because it was taken down. Raises what Pillow raises if it is damaged.
    """
    if not has_content(path):
        return None
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    is_small = min(image.size) <= SMALL_PX and max(image.size) <= max_side
    if not is_small:
        image.thumbnail((max_side, max_side))
    elif enlarge:
        factor = max_side // max(image.size)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    return _webp(image, lossless and is_small), is_small


def has_content(path: Path) -> bool:
    """Return whether an image exists; one that was taken down is empty."""
    return path.is_file() and path.stat().st_size > 0


def _webp(image: Image.Image, lossless: bool) -> bytes:
    stream = io.BytesIO()
    quality = LOSSLESS_EFFORT if lossless else LOSSY_QUALITY
    image.save(stream, format="WEBP", lossless=lossless, quality=quality, method=METHOD)
    return stream.getvalue()
