"""Pictures from strangers: checked within bounds, then drawn anew without anything but the picture."""

import io
import stat
from pathlib import Path

from PIL import Image, ImageOps

from autolora.errors import RefusedFile
from autolora.params import PoolParams

NOT_AN_IMAGE = "not-an-image"
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_SCANS = 100
"""of a progressive JPEG, which has about ten; each takes a pass over the whole picture"""
THINNEST = 100
"""the longer side over the shorter one; models that look at pictures take no more than 200"""
MB = 1_000_000


def redraw(path: Path, bounds: PoolParams) -> tuple[bytes, int, int]:
    """Return a downloaded picture as PNG (RGB, upright, no metadata), its width and height in px.

    Of a moving picture the first frame is taken.
    Raises RefusedFile: not-an-image, image-too-large, image-too-thin.
    """
    content = _read(path, int(bounds.max_image_mb * MB))
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, bounds.max_image_px)
            _check_scans(image, content)
            image.verify()
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:  # what was verified cannot be read
            ImageOps.exif_transpose(image, in_place=True)
            return _draw(image), image.width, image.height
    except RefusedFile:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedFile("image-too-large", f"the picture is too large: {error}") from error
    except (
        Exception
    ) as error:  # Pillow raises nearly anything on a damaged file, and its words may hold addresses
        raise RefusedFile(
            NOT_AN_IMAGE, f"the file is no picture of {', '.join(FORMATS)} ({type(error).__name__})"
        ) from error


def _read(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; a link is not followed, a pipe not waited for."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFile(NOT_AN_IMAGE, "it is no regular file")
    if status.st_size > max_bytes:
        raise RefusedFile(
            "image-too-large",
            f"the picture has {status.st_size} bytes, allowed are {max_bytes} (pool.max_image_mb)",
        )
    return path.read_bytes()


def _draw(image: Image.Image) -> bytes:
    """Return a PNG of the pixels alone: a new picture has no profile, text or thumbnail to be saved."""
    drawn = Image.new("RGB", image.size)
    drawn.paste(image.convert("RGB"))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return buffer.getvalue()


def _check_size(image: Image.Image, max_px: int) -> None:
    if image.width * image.height > max_px:
        raise RefusedFile(
            "image-too-large",
            f"the picture has {image.width} × {image.height} px, allowed are {max_px} (pool.max_image_px)",
        )
    if max(image.size) > THINNEST * min(image.size):
        raise RefusedFile(
            "image-too-thin",
            f"the picture has {image.width} × {image.height} px, one side may be {THINNEST} times the other",
        )


def _check_scans(image: Image.Image, content: bytes) -> None:
    """Refuse a JPEG of so many scans that decoding it takes for ever."""
    scans = 0 if image.format in ("PNG", "WEBP") else content.count(b"\xff\xda")  # elsewhere it is chance
    if scans > MOST_SCANS:
        raise RefusedFile(
            "image-too-large", f"the picture is drawn in {scans} scans, allowed are {MOST_SCANS}"
        )
