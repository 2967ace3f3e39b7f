"""`autolora generate`."""

import math
import os
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.image_summary import print_image
from autolora.cli.options import PromptOrNone, Rev, Where
from autolora.cli.paths import check_can_write, from_folder, new_file, to_absolute, unused_path
from autolora.cli.repetition import (
    ImageRequest,
    check_image_to_repeat,
    check_is_other_file,
    find_recorded,
    resolve_request,
)
from autolora.cli.search import explain_no_hit
from autolora.errors import MissingArtifact
from autolora.gpu_memory import naming_what_to_lower
from autolora.params import METHODS, Method, Params
from autolora.params.limits import MAX_ACTING, MAX_SEED, MAX_STRENGTH, check_method

if TYPE_CHECKING:
    from autolora.generation.images import GeneratedImage
    from autolora.index.names import AdapterNames
    from autolora.records import Hit


BYTES_PER_PIXEL = 3


def _parse_seed(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_SEED:
        raise typer.BadParameter(f"'{text}' is not a whole number from 0 to {MAX_SEED}")
    return int(text)


def _parse_method(text: str) -> Method:
    try:
        return check_method(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def generate(
    prompt: PromptOrNone = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            metavar="K",
            min=0,
            max=MAX_ACTING,
            help="Use the first K hits of a search, fitting or not; 0 uses the base model alone.",
        ),
    ] = None,
    adapters: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME[:STRENGTH]",
            help="Use this adapter, fitting or not, e.g. author/name:0.8 (-4 to 4); repeat for several.",
        ),
    ] = None,
    method: Annotated[
        Method | None,
        typer.Option(
            metavar="METHOD",
            parser=_parse_method,
            help=f"How several adapters act together, see docs/fusion.md: {', '.join(METHODS)}. Default from "
            "params.yaml.",
        ),
    ] = None,
    trigger_words: Annotated[
        bool | None,
        typer.Option(
            "--trigger-words/--no-trigger-words",
            help="Add the first trigger word of each adapter to PROMPT; default from params.yaml.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=_parse_seed, help="Seed of the initial noise; default 0, or that of --like."
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE.png",
            help="Repeat an image that `generate` wrote; what is given beside it replaces what it had.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            metavar="FILE",
            help="PNG file to write; default: a new one in images/, named by prompt and seed, or by the image of "
            "--like.",
        ),
    ] = None,
    unsure: Annotated[
        bool,
        typer.Option(
            "--unsure",
            help="Also use adapters of half the relevance that is needed (retrieval.min_relevance).",
        ),
    ] = False,
    where: Where = None,
    rev: Rev = None,
) -> None:
    """Generate an image of PROMPT with the adapters that fit it; the PNG records how it was made.

    By default the adapters are selected: one for each thing that PROMPT asks for and an adapter fits, or none. With
    --like they are those of the image.
    """
    output = to_absolute(output) if output else None
    if output:
        _check_is_png(output)
    like = to_absolute(like) if like else None
    check_image_to_repeat(prompt, like)
    _check_choice(k, adapters, where, rev, unsure)
    here = Path.cwd()
    root, params = enter_repository()
    request = resolve_request(params, like, prompt, seed, method, trigger_words)
    name = f"{like.stem}-again" if like else f"{_slug(request.prompt)}-{request.seed}"
    default = root / "images" / f"{name}.png"
    if output:
        check_is_other_file(output, like)
    num_bytes = request.settings.width * request.settings.height * BYTES_PER_PIXEL
    check_can_write(output or unused_path(default), num_bytes, "-o")
    uses_recorded = request.recipe and not adapters and not where and k is None and not unsure
    is_search = not uses_recorded and not adapters and k != 0
    if is_search:
        announce("choosing adapters")
    if request.recipe and uses_recorded:
        hits, no_hit = find_recorded(root, params, request.recipe, rev), ""
    else:
        hits, no_hit = _find(root, params, request.prompt, k, adapters or (), where or [], rev, unsure)
    announce(f"drawing with {params.models.pipeline}")
    image = _draw(root, params, request, hits)
    is_replaced = output is not None and output.exists()
    path = _save(image, output, default)
    print(f"{from_folder(path, here)}{' (replaced)' if is_replaced else ''}")
    print_image(image, request, hits, no_hit)


def _check_is_png(output: Path) -> None:
    from autolora.generation.provenance import check_is_png

    try:
        check_is_png(output)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="-o") from error


def _check_choice(
    k: int | None,
    adapters: Sequence[str] | None,
    where: Sequence[str] | None,
    rev: str | None,
    unsure: bool,
) -> None:
    """Raise a usage error if options contradict each other."""
    if unsure and (adapters or k is not None):
        raise typer.BadParameter("give either --unsure, or adapters, or -k", param_hint="--unsure")
    for option, value in (("--rev", rev), ("--where", where)):
        if k == 0 and value:
            raise typer.BadParameter(f"-k 0 searches no index, so {option} has no effect", param_hint=option)
    if len(adapters or ()) > MAX_ACTING:
        raise typer.BadParameter(f"at most {MAX_ACTING} adapters act together", param_hint="--adapter")
    if adapters and (k is not None or where):
        raise typer.BadParameter(
            "give either adapters, or -k and --where to search for some", param_hint="--adapter"
        )


def _find(
    root: Path,
    params: Params,
    prompt: str,
    k: int | None,
    adapters: Sequence[str],
    where: Sequence[str],
    rev: str | None,
    unsure: bool = False,
) -> "tuple[list[Hit], str]":
    """Return the adapters to draw with, and why there are none although some were looked for; else ""."""
    from autolora.search.retriever import open_retriever

    if k == 0:
        return [], ""
    retriever = open_retriever(root, rev, params)
    named = [_parse_adapter(text, retriever.names) for text in adapters]
    hits = retriever.choose(prompt, named, k, where or None, unsure)
    return hits, "" if hits else explain_no_hit(retriever, prompt, where)


def _draw(root: Path, params: Params, request: ImageRequest, hits: "Sequence[Hit]") -> "GeneratedImage":
    """Return the image; the base model, which takes seconds to minutes to load, is loaded after all checks."""
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")  # their warnings about cut prompts name tokens; ours name words
    from autolora.generation import images

    generator = images.Generator(root, params.models, params.pool)
    with naming_what_to_lower("generate"):
        return images.generate(
            generator,
            request.prompt,
            hits,
            method=request.method,
            seed=request.seed,
            params=request.settings,
        )


def _save(image: "GeneratedImage", output: Path | None, default: Path) -> Path:
    """Write an image to `output`, else to a new file named like the default, and return the path."""
    from autolora.generation.images import save_image

    try:
        with nullcontext(output) if output else new_file(default) as path:
            save_image(image, path)
        return path
    except OSError as error:
        raise MissingArtifact(
            f"{output or default} cannot be written ({error.strerror}): give another file (-o)"
        ) from error


def _parse_adapter(text: str, names: "AdapterNames") -> tuple[str, float]:
    """Return the name and strength of `NAME[:STRENGTH]`; the strength is 1 if it is not given.

    A number at the end is a strength only if an adapter has the name before it and none has the whole: ids on some hubs
    are numbers. A text without an adapter is returned whole.
    """
    name, _, number = text.rpartition(":")
    if names.find_all(text) or not names.find_all(name):
        return text, 1.0
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not abs(strength) <= MAX_STRENGTH:
        expected = f"expected a number from {-MAX_STRENGTH:g} to {MAX_STRENGTH:g}, e.g. 0.8"
        raise typer.BadParameter(
            f"'{number}' in '{text}' is not a strength: {expected}", param_hint="--adapter"
        )
    return name, strength


def _slug(prompt: str) -> str:
    """Return a file name for a prompt: its words in lower case, joined by `-`, at most 60 characters."""
    words = re.findall(r"[^\W_]+", prompt.lower())
    return "-".join(words)[:60].strip("-") or "image"
