"""`autolora generate`."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Prompt, Rev, Where, check_prompt
from autolora.cli.paths import check_can_write, to_absolute
from autolora.cli.search import choose, explain_no_hit
from autolora.errors import MissingArtifact
from autolora.params import GenerationParams, Method, Params, RetrievalParams

if TYPE_CHECKING:
    from autolora.generation import GeneratedImage
    from autolora.index.names import AdapterNames
    from autolora.records import Hit


BYTES_PER_PIXEL = 3
MAX_STRENGTH = 4.0
"""largest factor of an adapter's update: one many times as large as it was trained leaves nothing of an image, and a
number such as 80 is meant as percent"""


def generate(
    prompt: Prompt,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", min=0, help="Use the first K hits of a search, fitting or not; 0 uses the base model alone."
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
        typer.Option(help="How several adapters act together, see docs/fusion.md; default from params.yaml."),
    ] = None,
    trigger_words: Annotated[
        bool | None,
        typer.Option(
            "--trigger-words/--no-trigger-words",
            help="Add the first trigger word of each adapter to PROMPT; default from params.yaml.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the initial noise.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", help="PNG file to write; default images/PROMPT-SEED.png.")
    ] = None,
    where: Where = None,
    rev: Rev = None,
) -> None:
    """Generate an image of PROMPT with the adapters that fit it; the PNG records how it was made.

    By default the adapters are selected: one for each thing that PROMPT asks for and an adapter fits, or none.
    """
    output = to_absolute(output) if output else None
    if output and output.suffix.lower() != ".png":
        raise typer.BadParameter(f"{output} must be a file that ends in .png", param_hint="-o")
    check_prompt(prompt)
    _check_choice(k, adapters, where, rev)
    root, params = enter_repository()
    path = output or root / "images" / f"{_slug(prompt)}-{seed}.png"
    check_can_write(path, params.generation.width * params.generation.height * BYTES_PER_PIXEL, "-o")
    announce(f"choosing adapters, then drawing with {params.models.pipeline}")
    hits, no_hit = _find(root, params.retrieval, prompt, k, adapters or (), where or [], rev)
    settings = params.generation
    if trigger_words is not None:
        settings = replace(settings, trigger_words=trigger_words)
    image = _draw(root, params, prompt, hits, method or settings.method, seed, settings)
    _save(image, path)
    print(path)
    if image.provenance["text"] != prompt:
        print(f"  prompt with trigger words: {image.provenance['text']}")
    if no_hit:
        print(f"  the base model alone: {no_hit}")
    for hit in hits:
        print(f"  {_describe(hit)}")


def _check_choice(
    k: int | None, adapters: Sequence[str] | None, where: Sequence[str] | None, rev: str | None
) -> None:
    """Raise a usage error if options contradict each other."""
    for option, value in (("--rev", rev), ("--where", where)):
        if k == 0 and value:
            raise typer.BadParameter(f"-k 0 searches no index, so {option} has no effect", param_hint=option)
    if adapters and (k is not None or where):
        raise typer.BadParameter(
            "give either adapters, or -k and --where to search for some", param_hint="--adapter"
        )


def _find(
    root: Path,
    params: RetrievalParams,
    prompt: str,
    k: int | None,
    adapters: Sequence[str],
    where: Sequence[str],
    rev: str | None,
) -> "tuple[list[Hit], str]":
    """Return the adapters to draw with, and why there are none although some were looked for; else ""."""
    from autolora.retrieval import open_retriever

    if k == 0:
        return [], ""
    retriever = open_retriever(root, rev=rev)
    named = [_parse_adapter(text, retriever.names) for text in adapters]
    hits = choose(retriever, prompt, k, named, where or None, params)
    if len({hit.sha256 for hit in hits}) < len(hits):
        raise typer.BadParameter("an adapter is given twice: give it once", param_hint="--adapter")
    return hits, "" if hits else explain_no_hit(retriever, prompt, where)


def _draw(
    root: Path,
    params: Params,
    prompt: str,
    hits: "Sequence[Hit]",
    method: Method,
    seed: int,
    settings: GenerationParams,
) -> "GeneratedImage":
    """Load the base model, which takes seconds to minutes, and return the image."""
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")  # their warnings about cut prompts name tokens; ours name words
    from autolora import generation

    generator = generation.Generator(root, params.models, params.pool)
    return generation.generate(generator, prompt, hits, method=method, seed=seed, params=settings)


def _save(image: "GeneratedImage", path: Path) -> None:
    from autolora.generation import save_image

    try:
        save_image(image, path)
    except OSError as error:
        raise MissingArtifact(
            f"{path} cannot be written ({error.strerror}): give another file (-o)"
        ) from error


def _describe(hit: "Hit") -> str:
    """Return an adapter that an image was drawn with as a line."""
    words = f"; trigger words: {', '.join(hit.trigger_words)}" if hit.trigger_words else ""
    relevance = "" if hit.relevance is None else f"relevance {hit.relevance:.2f}: "
    strength = "" if hit.strength == 1 else f"strength {hit.strength:g}: "
    return f"{relevance}{strength}{hit.hub}:{hit.id} ({hit.license or 'license unknown'}{words})"


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
