"""Pictures on their way to a vision-language model."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.errors import MissingArtifact

if TYPE_CHECKING:
    from PIL import Image


def encode(image: "Image.Image") -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    image.convert("RGB").save(stream, format="PNG")
    return stream.getvalue()


def read(image: Path) -> bytes:
    """Return a rendering's bytes; raises MissingArtifact when it cannot be read."""
    try:
        return image.read_bytes()
    except OSError as error:
        raise MissingArtifact(f"cannot read the rendering {image}: {error}; run `dvc repro pool`") from error
