"""Images of the page: reduced copies, embedded as data URLs in the page of a small pool, else files beside it.

The copies are kept, so that a later page decodes new renderings only: in cache/thumbnails/<variant>/ if they are
embedded, else in reports/images/<variant>/, where the page loads them from. The variant is a digest of everything that
decides how they are reduced. Copies of other variants, and of images that are not on the page any more, are removed.
"""

import base64
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from autolora.report.reduction import SETTINGS, reduce_image
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value

GRID_PX = 1280
SIDES_PX = ((400, 256), (2000, 160))
"""(number of images on the page, up to which: largest side of each in px)"""
SMALLEST_SIDE_PX = 96
FILE_SIDE_PX = 224
"""largest side of an image beside the page"""
MAX_LOSSLESS = 800
"""up to this number of images on the page, small ones are compressed without loss"""
SUFFIXES = {False: ".webp", True: ".pixels.webp"}
"""suffix of a copy, by whether it retains the pixels of its image"""
EMBEDDED, FILES = Path("cache", "thumbnails"), Path("reports", "images")
"""folders of the copies, by where the page has them"""


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image for an img element."""

    number: int
    """on this page; the script's data refer to the image by it"""
    url: str
    is_small: bool
    """whether browsers must enlarge it without smoothing"""
    width: int
    height: int
    """of the original, px: browsers reserve this room before the image is loaded"""


@dataclass(slots=True)
class ImageStore:
    """The images of a page by their sha256, each reduced once."""

    folder: Path
    """of the reduced copies"""
    prefix: str | None
    """URL of the folder relative to the page; None if the page embeds its images"""
    max_side: int
    """px"""
    lossless: bool
    """whether small images are compressed without loss"""
    images: dict[str, PageImage | None] = field(default_factory=dict)

    def load(self, sha256: str, size: tuple[int, int], path: Path) -> PageImage | None:
        """Return the image at `path`, whose width and height are `size`; None if the file does not exist."""
        if sha256 not in self.images:
            is_small = self._stored(sha256)
            if is_small is None:
                is_small = self._reduce(sha256, path)
            url = None if is_small is None else self._url(sha256, is_small)
            self.images[sha256] = (
                None if is_small is None or url is None else PageImage(len(self.images), url, is_small, *size)
            )
        return self.images[sha256]

    def remove_others(self) -> None:
        """Remove the copies of images that were not loaded: they left the pool."""
        for path in self.folder.glob("*/*.webp"):
            if path.name.partition(".")[0] not in self.images:
                path.unlink(missing_ok=True)

    def _path(self, sha256: str, is_small: bool) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{SUFFIXES[is_small]}"

    def _stored(self, sha256: str) -> bool | None:
        """Return whether the stored copy retains the pixels; None if there is none."""
        return next((is_small for is_small in SUFFIXES if self._path(sha256, is_small).exists()), None)

    def _reduce(self, sha256: str, path: Path) -> bool | None:
        reduced = reduce_image(path, self.max_side, self.lossless)
        if reduced is None:
            return None
        write_atomic(self._path(sha256, reduced[1]), reduced[0])
        return reduced[1]

    def _url(self, sha256: str, is_small: bool) -> str:
        path = self._path(sha256, is_small)
        if self.prefix is None:
            return data_url(path.read_bytes(), "webp")
        return f"{self.prefix}/{path.relative_to(self.folder).as_posix()}"


def image_store(root: Path, count: int, are_files: bool) -> ImageStore:
    """Return an empty store for about `count` images: the more of them a page embeds, the smaller each becomes.

    are_files: whether the images are files beside the page.
    """
    embedded_side = next((side for limit, side in SIDES_PX if count <= limit), SMALLEST_SIDE_PX)
    max_side = FILE_SIDE_PX if are_files else embedded_side
    lossless = count <= MAX_LOSSLESS
    settings = [*SETTINGS, max_side, lossless]
    folder = root / (FILES if are_files else EMBEDDED) / hash_value(settings)[:12]
    for other in (*(root / EMBEDDED).glob("*"), *(root / FILES).glob("*")):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    prefix = f"{FILES.name}/{folder.name}" if are_files else None
    return ImageStore(folder=folder, prefix=prefix, max_side=max_side, lossless=lossless)


def encode_grid(path: Path, max_side: int = GRID_PX) -> PageImage | None:
    """Return rows of images as one embedded image; None if the file does not exist.

    max_side: largest side in px.
    """
    reduced = reduce_image(path, max_side)
    if reduced is None:
        return None
    content, is_small = reduced
    with Image.open(io.BytesIO(content)) as image:
        return PageImage(-1, data_url(content, "webp"), is_small, *image.size)


def data_url(content: bytes, image_type: str) -> str:
    """Return the bytes of an image as a data URL."""
    return f"data:image/{image_type};base64,{base64.b64encode(content).decode()}"
