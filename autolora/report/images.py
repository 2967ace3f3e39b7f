"""Images inside the page: reduced copies as data URLs, each embedded once, so that the page loads nothing."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

SMALL_PX = 128
"""images up to this side retain their pixels; browsers enlarge them without smoothing"""
GRID_PX = 1280
SIDES_PX = ((400, 256), (2000, 160))
"""(number of images on the page, up to which: largest side of each in px)"""
SMALLEST_SIDE_PX = 96
MAX_LOSSLESS = 800
"""up to this number of images on the page, small ones are compressed without loss"""
LOSSY_QUALITY = 84
LOSSLESS_EFFORT = 50
"""of compression, 0 to 100"""


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image for an img element."""

    number: int
    """on this page; the script's data refer to the image by it"""
    url: str
    is_small: bool
    """whether browsers must enlarge it without smoothing"""


@dataclass(slots=True)
class ImageStore:
    """The images of a page by their sha256, each read and embedded once."""

    max_side: int
    """px"""
    lossless: bool
    """whether small images are compressed without loss"""
    images: dict[str, PageImage | None] = field(default_factory=dict)

    def load(self, sha256: str, path: Path) -> PageImage | None:
        """Return the image at `path` as a data URL; None if the file does not exist."""
        if sha256 not in self.images:
            encoded = encode_image(path, self.max_side, self.lossless)
            self.images[sha256] = PageImage(len(self.images), *encoded) if encoded else None
        return self.images[sha256]


def image_store(count: int) -> ImageStore:
    """Return an empty store for about `count` images: the more there are, the smaller each becomes."""
    max_side = next((side for limit, side in SIDES_PX if count <= limit), SMALLEST_SIDE_PX)
    return ImageStore(max_side=max_side, lossless=count <= MAX_LOSSLESS)


def encode_image(path: Path, max_side: int, lossless: bool = True) -> tuple[str, bool] | None:
    """Return an image as a data URL, at most `max_side` px per side, and whether it retains its pixels.

    None if the file does not exist.
    """
    if not path.is_file():
        return None
    with Image.open(path) as image:
        reduced = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    is_small = min(reduced.size) <= SMALL_PX and max(reduced.size) <= GRID_PX
    if not is_small:
        reduced.thumbnail((max_side, max_side))
    return data_url(_webp(reduced, lossless=lossless and is_small), "webp"), is_small


def encode_grid(path: Path) -> PageImage | None:
    """Return a row of images as one image; None if the file does not exist."""
    encoded = encode_image(path, GRID_PX)
    return PageImage(-1, *encoded) if encoded else None


def data_url(content: bytes, image_type: str) -> str:
    """Return the bytes of an image as a data URL."""
    return f"data:image/{image_type};base64,{base64.b64encode(content).decode()}"


def _webp(image: Image.Image, lossless: bool) -> bytes:
    stream = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    quality = LOSSLESS_EFFORT if lossless else LOSSY_QUALITY
    upright.save(stream, format="WEBP", lossless=lossless, quality=quality, method=2)
    return stream.getvalue()
