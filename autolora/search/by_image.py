"""Images that searches start from: a file, or an image as it was loaded, under one rule, and the caption of one.

It imports no torch, so that a file is checked before a model is loaded.
"""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from PIL import Image

from autolora.errors import CaptionError, MissingArtifact, ParamsError, RefusedFile
from autolora.models import relative_to
from autolora.params import Params, PoolParams
from autolora.pool.images import NOT_AN_IMAGE, decode_image, read_image, to_upright

NO_CAPTIONER = (
    "captions.engine in params.yaml is null, so no model captions the image: set it to transformers or vllm, or "
    "describe the image in words and search for these"
)
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


def describe_image(root: Path, params: Params, image: Image.Image) -> str:
    """Return the caption of an image by the model that captions the pool's images, in the length `medium`.

    root: of the project. Raises ParamsError if params name no engine for captions, CaptionError if the model does not
    caption the image, or no server of it answers, MissingArtifact if there is no such model.
    """
    section = params.captions
    if section.engine is None:
        raise ParamsError(NO_CAPTIONER)
    from autolora import vlm  # here, because it imports torch

    engine = vlm.captioner(relative_to(root, params.models), replace(section, batch=1), params.vllm)
    with tempfile.TemporaryDirectory(prefix="autolora-image-") as folder:
        path = Path(folder, "image.png")
        image.save(path)
        request = vlm.CaptionRequest(image=path, instructions=(section.instructions.medium,))
        (answer,) = engine.describe([request], section.max_tokens, section.max_image_side)
    if isinstance(answer, vlm.FailedImage):
        raise CaptionError(
            f"{params.models.vlm} does not caption the image ({answer.reason}): describe the image in words and search "
            "for these"
        )
    return answer.text


def _open_file(path: Path, bounds: PoolParams) -> Image.Image:
    if path.is_dir():
        raise RefusedFile(NOT_AN_IMAGE, "it is a folder; give an image file in it")
    return decode_image(read_image(path, bounds), bounds)
