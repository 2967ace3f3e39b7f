"""Pictures from strangers: checked within bounds, then drawn anew without anything but the picture."""

import io
from pathlib import Path

from PIL import Image, ImageOps

from autolora.errors import RefusedFile
from autolora.params import PoolParams

FORMATS = ("PNG", "JPEG", "WEBP")


def redraw(path: Path, bounds: PoolParams) -> tuple[bytes, int, int]:
    """Return a downloaded picture as PNG (RGB, upright, no metadata), its width and height in px.

    Raises RefusedFile: not-an-image, image-too-large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image, bounds.max_image_px)
            image.verify()
        with Image.open(path, formats=FORMATS) as image:
            _check_size(image, bounds.max_image_px)
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except RefusedFile:
        raise
    except Image.DecompressionBombError as error:
        raise RefusedFile("image-too-large", f"the picture is too large: {error}") from error
    except Exception as error:  # Pillow raises nearly anything on a damaged file
        message = str(error).replace(str(path), "the file")
        raise RefusedFile(
            "not-an-image", f"the file is no picture of {', '.join(FORMATS)}: {message}"
        ) from error
    buffer = io.BytesIO()
    Image.frombytes("RGB", picture.size, picture.tobytes()).save(buffer, "PNG")
    return buffer.getvalue(), picture.width, picture.height


def _check_size(image: Image.Image, max_px: int) -> None:
    if image.width * image.height > max_px:
        raise RefusedFile(
            "image-too-large",
            f"the picture has {image.width} × {image.height} px, allowed are {max_px} (pool.max_image_px)",
        )
