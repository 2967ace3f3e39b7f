"""Images inside the page: reduced copies as data URLs, each embedded once, so that the page loads nothing.

The copies of renderings are kept in cache/thumbnails/<variant>/, so that a later page decodes new renderings only.
The variant is a digest of everything that decides how they are reduced. Thumbnails of other variants, and of images
that are not on the page any more, are removed.
"""

import base64
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value

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
METHOD = 2
"""of WebP, 0 (fast) to 6"""
SUFFIXES = {False: ".webp", True: ".pixels.webp"}
"""suffix of a thumbnail, by whether it retains the pixels of its image"""


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

    folder: Path
    """of the thumbnails"""
    max_side: int
    """px"""
    lossless: bool
    """whether small images are compressed without loss"""
    images: dict[str, PageImage | None] = field(default_factory=dict)

    def load(self, sha256: str, path: Path) -> PageImage | None:
        """Return the image at `path` as a data URL; None if the file does not exist."""
        if sha256 not in self.images:
            reduced = self._stored(sha256) or self._reduce(sha256, path)
            self.images[sha256] = PageImage(len(self.images), *_as_url(*reduced)) if reduced else None
        return self.images[sha256]

    def remove_others(self) -> None:
        """Remove the thumbnails of images that were not loaded: they left the pool."""
        for path in self.folder.glob("*/*.webp"):
            if path.name.partition(".")[0] not in self.images:
                path.unlink(missing_ok=True)

    def _path(self, sha256: str, is_small: bool) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{SUFFIXES[is_small]}"

    def _stored(self, sha256: str) -> tuple[bytes, bool] | None:
        for is_small in SUFFIXES:
            try:
                return self._path(sha256, is_small).read_bytes(), is_small
            except FileNotFoundError:
                continue
        return None

    def _reduce(self, sha256: str, path: Path) -> tuple[bytes, bool] | None:
        reduced = reduce_image(path, self.max_side, self.lossless)
        if reduced:
            write_atomic(self._path(sha256, reduced[1]), reduced[0])
        return reduced


def image_store(root: Path, count: int) -> ImageStore:
    """Return an empty store for about `count` images: the more there are, the smaller each becomes."""
    max_side = next((side for limit, side in SIDES_PX if count <= limit), SMALLEST_SIDE_PX)
    lossless = count <= MAX_LOSSLESS
    thumbnails = root / "cache" / "thumbnails"
    settings = [SMALL_PX, GRID_PX, max_side, lossless, LOSSY_QUALITY, LOSSLESS_EFFORT, METHOD]
    variant = thumbnails / hash_value(settings)[:12]
    for other in thumbnails.glob("*"):
        if other != variant:
            shutil.rmtree(other, ignore_errors=True)
    return ImageStore(folder=variant, max_side=max_side, lossless=lossless)


def reduce_image(path: Path, max_side: int, lossless: bool = True) -> tuple[bytes, bool] | None:
    """Return an image as WebP, at most `max_side` px per side, and whether it retains its pixels.

    None if the file does not exist, or is empty because it was taken down.
    """
    if not path.is_file() or not path.stat().st_size:
        return None
    with Image.open(path) as image:
        reduced = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    is_small = min(reduced.size) <= SMALL_PX and max(reduced.size) <= GRID_PX
    if not is_small:
        reduced.thumbnail((max_side, max_side))
    return _webp(reduced, lossless=lossless and is_small), is_small


def encode_grid(path: Path) -> PageImage | None:
    """Return a row of images as one image; None if the file does not exist."""
    reduced = reduce_image(path, GRID_PX)
    return PageImage(-1, *_as_url(*reduced)) if reduced else None


def data_url(content: bytes, image_type: str) -> str:
    """Return the bytes of an image as a data URL."""
    return f"data:image/{image_type};base64,{base64.b64encode(content).decode()}"


def _as_url(content: bytes, is_small: bool) -> tuple[str, bool]:
    return data_url(content, "webp"), is_small


def _webp(image: Image.Image, lossless: bool) -> bytes:
    stream = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    quality = LOSSLESS_EFFORT if lossless else LOSSY_QUALITY
    upright.save(stream, format="WEBP", lossless=lossless, quality=quality, method=METHOD)
    return stream.getvalue()
