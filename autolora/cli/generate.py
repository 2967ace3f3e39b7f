"""`autolora generate`."""

import math
import os
import re
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import enter_repository
from autolora.cli.options import Prompt, Rev, Where, check_prompt
from autolora.cli.search import choose, explain_no_hit
from autolora.errors import MissingArtifact

if TYPE_CHECKING:
    from autolora.index.names import AdapterNames


class Method(Enum):
    """The methods of fusion."""

    GATED = "gated"
    DIRECT = "direct"


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
            help="Use this adapter, fitting or not, e.g. author/name:0.8; repeat for several.",
        ),
    ] = None,
    method: Annotated[Method | None, typer.Option(help="Method of fusion; default from params.yaml.")] = None,
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
    from autolora import generation
    from autolora.retrieval import open_retriever

    output = output.absolute() if output else None
    if output and (output.is_dir() or output.suffix.lower() != ".png"):
        raise typer.BadParameter(f"{output} must be a file that ends in .png", param_hint="-o")
    if output and not _is_writable(output.parent):
        raise typer.BadParameter(f"{output.parent} is not a folder that can be written", param_hint="-o")
    check_prompt(prompt)
    for option, value in (("--rev", rev), ("--where", where)):
        if k == 0 and value:
            raise typer.BadParameter(f"-k 0 searches no index, so {option} has no effect", param_hint=option)
    if adapters and (k is not None or where):
        raise typer.BadParameter(
            "give either adapters, or -k and --where to search for some", param_hint="--adapter"
        )
    root, params = enter_repository()
    hits = []
    if k != 0:
        retriever = open_retriever(root, rev=rev)
        named = [_parse_adapter(text, retriever.names) for text in adapters or ()]
        hits = choose(retriever, prompt, k, named, where or None, params.retrieval)
        if len({hit.sha256 for hit in hits}) < len(hits):
            raise typer.BadParameter("an adapter is given twice: give it once", param_hint="--adapter")
    settings = params.generation
    if trigger_words is not None:
        settings = replace(settings, trigger_words=trigger_words)
    image = generation.generate(
        generation.Generator(root, params.models, params.pool),
        prompt,
        hits,
        method=method.value if method else settings.method,
        seed=seed,
        params=settings,
    )
    path = output or root / "images" / f"{_slug(prompt)}-{seed}.png"
    try:
        generation.save_image(image, path)
    except OSError as error:
        raise MissingArtifact(
            f"{path} cannot be written ({error.strerror}): give another file (-o)"
        ) from error
    print(path)
    if image.provenance["text"] != prompt:
        print(f"  prompt with trigger words: {image.provenance['text']}")
    if k != 0 and not hits:
        print(f"  {explain_no_hit(retriever.index, where or [])}: the base model alone")
    for hit in hits:
        words = f"; trigger words: {', '.join(hit.trigger_words)}" if hit.trigger_words else ""
        relevance = "" if hit.relevance is None else f"relevance {hit.relevance:.2f}: "
        strength = "" if hit.strength == 1 else f"strength {hit.strength:g}: "
        print(f"  {relevance}{strength}{hit.hub}:{hit.id} ({hit.license or 'license unknown'}{words})")


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
    if not math.isfinite(strength):
        raise typer.BadParameter(f"'{number}' in '{text}' is not a strength", param_hint="--adapter")
    return name, strength


def _is_writable(folder: Path) -> bool:
    """Return whether files can be written to a folder, or to its nearest existing parent if it does not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _slug(prompt: str) -> str:
    """Return a file name for a prompt: its words in lower case, joined by `-`, at most 60 characters."""
    words = re.findall(r"[^\W_]+", prompt.lower())
    return "-".join(words)[:60].strip("-") or "image"
