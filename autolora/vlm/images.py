"""Image bytes that are sent to a vision-language model."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.errors import MissingArtifact, rerun

if TYPE_CHECKING:
    from PIL import Image


def encode_png(image: "Image.Image") -> bytes:
    """Return an image as PNG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="PNG")
    return stream.getvalue()


def read_rendering(path: Path) -> bytes:
    """Return the bytes of a rendering; raises MissingArtifact if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingArtifact(f"cannot read the rendering {path}: {error}; {rerun('pool')}") from error
