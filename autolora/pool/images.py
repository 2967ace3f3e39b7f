"""Validation of untrusted images; downloaded ones are re-encoded as PNG without metadata."""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from autolora.errors import RefusedFile
from autolora.params import PoolParams
from autolora.storage.files import MB
from autolora.storage.images import FORMATS

NOT_AN_IMAGE, IMAGE_TOO_LARGE = "not-an-image", "image-too-large"
MAX_SCANS = 100
"""of a progressive JPEG; usual files have about ten, and each scan decodes the whole image once more"""
MAX_ASPECT_RATIO = 100
"""longer side divided by shorter side; the processors of vision models accept at most 200"""


def reencode_image(path: Path, bounds: PoolParams) -> tuple[bytes, int, int]:
    """Return a downloaded image as PNG (RGB, upright, no metadata), its width and its height in px.

    Of an animated image, only the first frame is used.
    Raises RefusedFile with code not-an-image, image-too-large or image-too-thin.
    """
    with _validated(read_image(path, bounds), bounds) as image:
        return _encode_png(image), image.width, image.height


def check_image(path: Path, bounds: PoolParams) -> tuple[int, int]:
    """Return width and height in px of an image that stays where it is. Raises as `reencode_image`."""
    with _validated(read_image(path, bounds), bounds) as image:
        image.load()
        return image.size


def read_image(path: Path, bounds: PoolParams) -> bytes:
    """Return the content of a regular file; symbolic links are not followed and pipes are not opened.

    Raises RefusedFile with code not-an-image or image-too-large.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFile(NOT_AN_IMAGE, "it is not a regular file")
    check_bytes(status.st_size, bounds)
    return path.read_bytes()


def check_bytes(count: int, bounds: PoolParams) -> None:
    """Raise RefusedFile with code image-too-large if an image has more bytes than allowed."""
    max_bytes = int(bounds.max_image_mb * MB)
    if count > max_bytes:
        raise RefusedFile(
            IMAGE_TOO_LARGE,
            f"the image has {count} bytes, but at most {max_bytes} are allowed",
        )


def decode_image(content: bytes, bounds: PoolParams) -> Image.Image:
    """Return the image in the content of a file, upright, in RGB. Raises as `reencode_image`."""
    with _validated(content, bounds) as image:
        return image.convert("RGB")


def to_upright(image: Image.Image, bounds: PoolParams) -> Image.Image:
    """Return a copy of an image that Pillow has opened, upright, in RGB. Raises as `reencode_image`.

    It is checked as a file is, but for its bytes, which Pillow has read or need not have.
    """
    with _refusing(bounds):
        if image.format not in (None, *FORMATS):
            raise RefusedFile(NOT_AN_IMAGE, f"it is a {image.format}, but must be a {', '.join(FORMATS)}")
        _check_size(image, bounds.max_image_px)
        return ImageOps.exif_transpose(image).convert("RGB")


@contextmanager
def _validated(content: bytes, bounds: PoolParams) -> Iterator[Image.Image]:
    """Yield an image, upright, after all checks; errors of decoding it are refusals too."""
    check_bytes(len(content), bounds)
    with _refusing(bounds):
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image, bounds.max_image_px)
            _check_scans(image, content)
            image.verify()
        with Image.open(
            io.BytesIO(content), formats=FORMATS
        ) as image:  # an image cannot be used after verify()
            ImageOps.exif_transpose(image, in_place=True)
            yield image


@contextmanager
def _refusing(bounds: PoolParams) -> Iterator[None]:
    """Turn all errors of Pillow into refusals."""
    try:
        yield
    except RefusedFile:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedFile(
            IMAGE_TOO_LARGE,
            f"the image has more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} px, but at most {bounds.max_image_px} px are "
            "allowed",
        ) from error
    except (
        Exception
    ) as error:  # Pillow raises many types on damaged files; its messages may contain addresses
        raise RefusedFile(
            NOT_AN_IMAGE,
            f"the file is not a valid image of type {', '.join(FORMATS)} ({type(error).__name__})",
        ) from error


def _encode_png(image: Image.Image) -> bytes:
    """Return a PNG of the pixels only: a new image has no color profile, text or thumbnail."""
    pixels = Image.new("RGB", image.size)
    pixels.paste(image.convert("RGB"))
    buffer = io.BytesIO()
    pixels.save(buffer, "PNG")
    return buffer.getvalue()


def _check_size(image: Image.Image, max_px: int) -> None:
    if image.width * image.height > max_px:
        raise RefusedFile(
            IMAGE_TOO_LARGE,
            f"the image has {image.width} × {image.height} px, but at most {max_px} px are allowed",
        )
    if max(image.size) > MAX_ASPECT_RATIO * min(image.size) or not min(image.size):
        raise RefusedFile(
            "image-too-thin",
            f"the image has {image.width} × {image.height} px; the longer side may be at most {MAX_ASPECT_RATIO} "
            "times the shorter side",
        )


def _check_scans(image: Image.Image, content: bytes) -> None:
    """Refuse a JPEG with so many scans that decoding would take very long."""
    # In PNG and WEBP files the scan marker's bytes occur by chance.
    scans = 0 if image.format in ("PNG", "WEBP") else content.count(b"\xff\xda")
    if scans > MAX_SCANS:
        raise RefusedFile(
            IMAGE_TOO_LARGE, f"the image has {scans} scans, but at most {MAX_SCANS} are allowed"
        )
