"""`autolora show`."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_facts, print_table, to_json
from autolora.cli.paths import to_absolute
from autolora.errors import MissingArtifact
from autolora.params import Params

if TYPE_CHECKING:
    from autolora.show.caption_agreement import CaptionAgreement
    from autolora.show.lookup import AdapterRecord

SUFFIX = ".safetensors"


def show(
    adapter: str,
    captions: Annotated[
        bool,
        typer.Option("--captions", help="Compare each caption with the weights and with the other images."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show all about ADAPTER: a sha256 (6 digits or more), a hub id (author/name), a LoRA file, or a generated PNG."""
    if adapter.lower().endswith(".png"):
        if captions:
            raise typer.BadParameter("is for adapters, not for images", param_hint="--captions")
        _show_image(Path(os.path.expanduser(adapter)), as_json)
        return
    from autolora.show.facts import facts
    from autolora.show.lookup import lookup
    from autolora.show.record_json import record_json

    path = to_absolute(Path(adapter))
    root, params = enter_repository()
    is_lora = adapter.lower().endswith(SUFFIX) and path.is_file()
    try:
        record = _lookup_file(root, path, params) if is_lora else lookup(root, adapter, params.crawl)
    except MissingArtifact as error:
        if is_lora or not path.is_file():
            raise
        raise MissingArtifact(
            f"{path} is neither a PNG that `autolora generate` wrote (.png), nor a LoRA file ({SUFFIX}), and no "
            "adapter has this name: give one of these"
        ) from error
    agreements = _compare_captions(root, record) if captions else []
    if as_json:
        details: dict[str, Any] = {"caption_agreement": list(map(asdict, agreements))} if captions else {}
        print(to_json(record_json(record) | details))
        return
    print_facts(facts(record))
    if captions:
        _print_agreements(agreements)


def _lookup_file(root: Path, file: Path, params: Params) -> "AdapterRecord":
    """Find the adapter with the bytes of a LoRA file."""
    from autolora.show.lookup import lookup
    from autolora.storage.hashes import hash_file

    try:
        return lookup(root, hash_file(file), params.crawl)
    except MissingArtifact as error:
        raise MissingArtifact(
            f"no adapter of the project has the bytes of {file}: `autolora inspect {shlex.quote(str(file))}` shows "
            "what it is and does"
        ) from error


def _show_image(path: Path, as_json: bool) -> None:
    """Print how a generated image was made. Needs no repository."""
    from autolora.generation.provenance import describe_provenance, read_provenance

    provenance = read_provenance(path)
    if as_json:
        print(to_json(provenance))
    else:
        print_facts(describe_provenance(provenance))


def _compare_captions(root: Path, record: "AdapterRecord") -> "list[CaptionAgreement]":
    """Return the agreement of each caption of an adapter with the weights; empty without captions."""
    from autolora.search.retriever import open_retriever
    from autolora.show.caption_agreement import compare_captions

    if record.adapter is None or not record.captions:
        return []
    return compare_captions(open_retriever(root), record.adapter.sha256, record.captions)


def _print_agreements(agreements: "Sequence[CaptionAgreement]") -> None:
    """Print the table of `show --captions`: one row per caption, those of one image together."""
    rows = [
        (
            f"{row.weights:.3f}",
            "–" if row.others is None else f"{row.others:.3f}",
            row.image[:8],
            f"{row.text} … (cut)" if row.cut else row.text,
        )
        for row in agreements
    ]
    print_table(("weights", "other images", "image", "caption"), rows, "cosine of each caption with")
