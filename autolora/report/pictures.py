"""Pictures inside a page: small copies as data URLs, so that the page asks nobody for anything."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

AS_IS_PX = 128
"""pictures up to this side go in as they are, magnified without smoothing"""
THUMBNAIL_PX = 256
STRIP_PX = 1024


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture for an img element."""

    url: str
    pixels: bool
    """whether it is so small that its pixels should stay visible"""


def embed(path: Path, largest: int = THUMBNAIL_PX) -> Picture | None:
    """Return a picture as a data URL, at most `largest` px a side; None where the file is not there."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        if max(image.size) <= AS_IS_PX:
            return Picture(_data_url(path.read_bytes(), "png"), pixels=True)
        small = image.convert("RGB")
        small.thumbnail((largest, largest))
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=82)
    return Picture(_data_url(stream.getvalue(), "webp"), pixels=False)


def embed_strip(path: Path) -> Picture | None:
    """Return a row of pictures as a data URL, as it is where they are small; None where it is not there."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        small = image.height <= AS_IS_PX
    return embed_whole(path) if small else embed(path, STRIP_PX)


def embed_whole(path: Path) -> Picture | None:
    """Return a PNG as a data URL, byte by byte; None where the file is not there."""
    return Picture(_data_url(path.read_bytes(), "png"), pixels=True) if path.is_file() else None


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
