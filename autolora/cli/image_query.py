"""What `autolora search` is asked for: a prompt, or an image with a caption."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from autolora.cli.command import announce
from autolora.cli.options import check_prompt
from autolora.params import Params

if TYPE_CHECKING:
    from autolora.records import Hit
    from autolora.search.retriever import Conditions, Retriever


def check_query(prompt: str | None, image: Path | None, caption: str | None, k: str | None) -> None:
    """Raise a usage error unless there is either a prompt, or an image, which may have a caption."""
    if image is not None and prompt is not None:
        raise typer.BadParameter(
            "give either PROMPT or an image; --caption describes the image", param_hint="--image"
        )
    if image is None and caption is not None:
        raise typer.BadParameter("describes an image, so it needs --image", param_hint="--caption")
    if image is not None and k == "auto":
        raise typer.BadParameter("auto selects for a prompt: give the number of adapters", param_hint="-k")
    if caption is not None:
        check_prompt(caption, "--caption")
    if image is None:
        if prompt is None:
            raise typer.BadParameter("give PROMPT, or an image (--image FILE)", param_hint="PROMPT")
        check_prompt(prompt)


def search_by_image(
    root: Path,
    params: Params,
    retriever: "Retriever",
    image: Path,
    caption: str | None,
    k: int,
    where: "Conditions",
) -> "tuple[str, list[Hit]]":
    """Return the caption of the image in a file, and the adapters that draw such things; say what takes long."""
    from autolora.image_query import open_image

    opened = open_image(image, params.pool)
    from autolora.image_search import ImageSearch  # after the file is checked, because it imports torch

    images = ImageSearch(root, params, retriever)
    if caption is None:
        announce(f"captioning {image.name} with {params.models.vlm}")
        caption = images.describe(opened)
        announce(f"caption: {caption}")
    announce(f"loading {params.models.pipeline} to compare {image.name} with the weights of the adapters")
    return caption, images.search(opened, caption, k, where)
