"""Pictures inside a page: small copies as data URLs, each once, so that the page asks nobody for anything."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageOps

AS_IS_PX = 128
"""pictures up to this side keep their pixels, magnified without smoothing"""
STRIP_PX = 1280
ROOMS = ((400, 256), (2000, 160))
"""pictures on the page, up to so many: largest side of each in px"""
SMALLEST_PX = 96
EXACT = 800
"""up to so many, small pictures lose nothing; beyond, they are compressed as photographs are"""
QUALITY = 84
EFFORT = 50
"""of making exact pictures small, 0 to 100"""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for an img element."""

    number: int
    """on this page; the browser's data name it by this"""
    url: str
    pixels: bool
    """whether it is so small that its pixels should stay visible"""


@dataclass(slots=True)
class Album:
    """The pictures of a page by their sha256, each read and embedded once."""

    largest: int
    """px a side"""
    exact: bool
    """whether small pictures lose nothing"""
    pictures: dict[str, Picture | None] = field(default_factory=dict)

    def picture(self, sha256: str, path: Path) -> Picture | None:
        """Return the picture at `path` as a data URL; None where there is none."""
        if sha256 not in self.pictures:
            url = embed(path, self.largest, self.exact)
            self.pictures[sha256] = Picture(len(self.pictures), *url) if url else None
        return self.pictures[sha256]


def open_album(count: int) -> Album:
    """Return an empty album for about `count` pictures: the more there are, the smaller each."""
    largest = next((side for most, side in ROOMS if count <= most), SMALLEST_PX)
    return Album(largest=largest, exact=count <= EXACT)


def embed(path: Path, largest: int, exact: bool = True) -> tuple[str, bool] | None:
    """Return a picture as a data URL, at most `largest` px a side, and whether it keeps its pixels.

    None where the file is not there.
    """
    if not path.is_file():
        return None
    with Image.open(path) as image:
        small = image.convert("RGBA" if "A" in image.getbands() else "RGB")
    pixels = min(small.size) <= AS_IS_PX and max(small.size) <= STRIP_PX
    if not pixels:
        small.thumbnail((largest, largest))
    return data_url(_webp(small, exact=exact and pixels), "webp"), pixels


def embed_strip(path: Path) -> Picture | None:
    """Return a row of pictures, its pixels kept where they are small; None where it is not there."""
    found = embed(path, STRIP_PX)
    return Picture(-1, *found) if found else None


def data_url(content: bytes, kind: str) -> str:
    """Return the bytes of a picture as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _webp(image: Image.Image, exact: bool) -> bytes:
    stream = io.BytesIO()
    upright = ImageOps.exif_transpose(image)
    upright.save(stream, format="WEBP", lossless=exact, quality=EFFORT if exact else QUALITY, method=2)
    return stream.getvalue()
