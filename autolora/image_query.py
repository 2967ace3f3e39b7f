"""The image that a search is asked by: read from a file, or given as it was loaded, under one rule.

It imports no torch, so that a file is checked before a model is loaded.
"""

import re
from pathlib import Path

from PIL import Image

from autolora.errors import MissingArtifact, RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import NOT_AN_IMAGE, decode_image, read_image, to_upright

URL = re.compile(r"(?:^|/)(https?:)/+(.*)")
"""a URL, also if it was taken for a path, which has no double slash"""


def open_image(image: Path | str | Image.Image, bounds: PoolParams) -> Image.Image:
    """Return an image, upright, in RGB: of a file, or as Pillow has loaded it, which stays as it is.

    Raises MissingArtifact if a file cannot be read, RefusedFile if it is not an image, or the image is too large,
    TypeError if it is neither a path nor an image of Pillow.
    """
    if not isinstance(image, Path | str | Image.Image):
        raise TypeError(
            f"image is of type {type(image).__name__}, but must be the path of a file, or an image of Pillow "
            "(PIL.Image.fromarray makes one from an array)"
        )
    try:
        if isinstance(image, Image.Image):
            return to_upright(image, bounds)
        return _open_file(Path(image).expanduser().resolve(), bounds)
    except OSError as error:
        if url := URL.search(str(image)):
            name = "//".join(url.groups())
            raise MissingArtifact(f"{name} is a URL: save the image, and give its file") from error
        raise MissingArtifact(f"cannot read {image} ({error.strerror}): give an image file") from error
    except RefusedFile as refused:
        name = "the image" if isinstance(image, Image.Image) else str(image)
        raise RefusedFile(refused.code, f"cannot search by {name}: {refused}") from refused


def _open_file(path: Path, bounds: PoolParams) -> Image.Image:
    if path.is_dir():
        raise RefusedFile(NOT_AN_IMAGE, "it is a folder; give an image file in it")
    return decode_image(read_image(path, bounds), bounds)
