"""What `autolora generate` draws: the prompt and options that are given, or those of an image that it repeats."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from autolora.cli.options import check_prompt
from autolora.params import GenerationParams, Method, Params

if TYPE_CHECKING:
    from autolora.generation.images import GeneratedImage
    from autolora.generation.recipe import ImageRecipe
    from autolora.records import Hit


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """All that an image is drawn from, except its adapters."""

    prompt: str
    seed: int
    method: Method
    settings: GenerationParams
    recipe: "ImageRecipe | None"
    """of the image to repeat; None if there is none"""


def resolve_request(
    params: Params,
    like: Path | None,
    prompt: str | None,
    seed: int | None,
    method: Method | None,
    trigger_words: bool | None,
) -> ImageRequest:
    """Return what is given, else what the image `like` was drawn from, else the defaults.

    Raises MissingArtifact if the image has no valid provenance.
    """
    recipe = None
    if like:
        from autolora.generation.recipe import read_recipe

        recipe = read_recipe(like, params)
    settings = recipe.settings if recipe else params.generation
    if trigger_words is not None:
        settings = replace(settings, trigger_words=trigger_words)
    default_seed, default_method = (recipe.seed, recipe.method) if recipe else (0, settings.method)
    return ImageRequest(
        prompt=recipe.prompt if prompt is None and recipe else prompt or "",
        seed=default_seed if seed is None else seed,
        method=method or default_method,
        settings=settings,
        recipe=recipe,
    )


def check_image_to_repeat(prompt: str | None, like: Path | None) -> None:
    """Raise a usage error if there is neither a prompt nor an image to repeat."""
    if prompt is None and like is None:
        raise typer.BadParameter("give a prompt, or an image to repeat (--like)", param_hint="PROMPT")
    if prompt is not None:
        check_prompt(prompt)


def check_is_other_file(path: Path, like: Path | None) -> None:
    """Raise a usage error if an image would be written over the one that it repeats."""
    if like and path.exists() and path.samefile(like):
        raise typer.BadParameter(f"{path} is the image to repeat: give another file", param_hint="-o")


def find_recorded(root: Path, params: Params, recipe: "ImageRecipe", rev: str | None) -> "list[Hit]":
    """Return the adapters of the image to repeat; raises MissingArtifact if the index does not contain one."""
    from autolora.search.retriever import open_retriever

    return recipe.find_hits(open_retriever(root, rev, params)) if recipe.adapters else []


def describe_repetition(recipe: "ImageRecipe", image: "GeneratedImage") -> Iterator[str]:
    """Yield lines on whether a repeated image has the same pixels, and what of its recipe differs."""
    from autolora.generation.recipe import differences, pixel_difference
    from autolora.wording import printable

    lines = differences(recipe.provenance, image.provenance)
    largest, name = pixel_difference(recipe.path, image.image), recipe.path.name
    if largest == 0:
        yield f"the same pixels as {name}" + (", although these differ:" if lines else "")
    elif largest is None:
        yield f"another size than {name}; these differ:"
    elif lines:
        yield f"the pixels differ from those of {name} by up to {largest} of 255, as these differ:"
    else:
        yield (
            f"the pixels differ from those of {name} by up to {largest} of 255, although nothing differs that it "
            "records: another kind of processor rounds differently, or the image was edited"
        )
    yield from (f"  {printable(line)}" for line in lines)
