"""Images that are sent to a vision-language model: read, checked, and downsized to the largest size it accepts."""

import io
from pathlib import Path

from PIL import Image

from autolora.errors import ImageFailed
from autolora.storage.images import FORMATS, open_image, read_image


def encode_png(image: Image.Image) -> bytes:
    """Return an image as PNG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="PNG")
    return stream.getvalue()


def load_rendering(path: Path, max_side: int) -> Image.Image:
    """Return a rendering in RGB, its longer side at most `max_side` px.

    Raises ImageFailed if the file is missing or damaged.
    """
    try:
        with open_image(path) as image:
            return downsize(image.convert("RGB"), max_side)
    except Exception as error:  # Pillow raises many types on damaged files
        raise _damaged(path, error) from error


def read_rendering(path: Path, max_side: int) -> bytes:
    """Return a rendering as PNG, unchanged if it is one and its longer side is at most `max_side` px.

    Raises ImageFailed if the file is missing or damaged.
    """
    try:
        content = read_image(path)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.format != "PNG" or max(image.size) > max_side:
                return encode_png(downsize(image.convert("RGB"), max_side))
            image.verify()
    except Exception as error:
        raise _damaged(path, error) from error
    return content


def downsize(image: Image.Image, max_side: int) -> Image.Image:
    """Return an image whose longer side is at most `max_side` px, in the same proportions."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _damaged(path: Path, error: Exception) -> ImageFailed:
    return ImageFailed(
        f"the image {path} is missing or damaged since its download ({error}): `autolora verify` names the "
        "command that restores it"
    )
