"""`autolora inspect`."""

import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce
from autolora.cli.options import Pipeline
from autolora.cli.output import print_facts, print_lines
from autolora.cli.own_files import absolute_folder, enter_project
from autolora.progress import track
from autolora.wording import counted, printable

if TYPE_CHECKING:
    from autolora.inspection.base_model import BaseModel
    from autolora.inspection.files import FoundFiles
    from autolora.inspection.inspection import Inspection, Totals

MAX_PROBLEMS = 20


def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="A LoRA file, or a folder of them.")],
    pipeline: Pipeline = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|ID",
            help="Published encoder, for words. Default: that of the surrounding project.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per file.")] = False,
) -> None:
    """Show what LoRA files are and do; works without a repository. Exits with 1 if one of them is refused."""
    path = path.expanduser()
    announce(f"inspecting {path}")
    from autolora.inspection.files import find_files

    is_folder, found = path.is_dir(), find_files(path)
    from autolora.inspection.inspection import Totals  # which import torch, after the path is checked
    from autolora.inspection.inspector import Inspector
    from autolora.inspection.setup import open_setup, prepare_process

    pipeline, encoder = absolute_folder(pipeline), absolute_folder(encoder)
    root, params = enter_project()
    setup = open_setup(root, params, pipeline=pipeline, encoder=encoder)
    notes = [*found.problems[:MAX_PROBLEMS], *([setup.note] if setup.note else [])]
    prepare_process()
    totals, started = Totals(), time.perf_counter()
    text_encoder_log = logging.getLogger("autolora.text_encoder")
    print_inspection = _printer(found, is_folder, as_json)
    with ExitStack() as stack:
        stack.callback(text_encoder_log.setLevel, text_encoder_log.level)
        text_encoder_log.setLevel(logging.ERROR)  # the ends of galleries' prompts may be cut
        inspections = Inspector(setup.base, setup.describer, setup.index).inspect_all(found.files)
        for inspection in track(inspections, "inspect", len(found.files), "files"):
            totals.count(inspection)
            print_inspection(inspection)
    if not as_json:
        lines = summarize(totals, time.perf_counter() - started) if is_folder else []
        print_lines(
            *(part for text in [*lines, describe_base(setup.base, totals)] for part in text.splitlines())
        )
    for note in notes:
        print(printable(note), file=sys.stderr)
    if totals.refused:
        raise typer.Exit(1)


def describe_base(base: "BaseModel", totals: "Totals") -> str:
    """Return the base model in a line; if it is not that of some files, also how to choose FLUX.1-dev."""
    from autolora.inspection.base_model import FLUX_DEV_NAME

    is_wrong = "wrong-base" in totals.refused and base.name != FLUX_DEV_NAME
    hint = f"; for FLUX.1-dev: --pipeline {FLUX_DEV_NAME}" if is_wrong else ""
    return f"inspected for {base.description}{hint}"


def summarize(totals: "Totals", seconds: float) -> list[str]:
    """Return the lines below the table of a folder: totals, and what to do about refused files."""
    rate = totals.files / max(seconds, 1e-3)
    lines = [
        f"{counted(totals.files, 'file')} in {seconds:.1f} s ({rate:.0f} per s): {totals.accepted} accepted, "
        f"{totals.files - totals.accepted} refused"
    ]
    lines += [
        f"  {code} ({number}): {meaning}\n    {remedy}" for code, number, meaning, remedy in totals.remedies
    ]
    if totals.exact_duplicates or totals.near_duplicates:
        lines.append(
            f"duplicates of an earlier file: {totals.exact_duplicates} with the same bytes, {totals.near_duplicates} "
            "with nearly the same update"
        )
    if totals.disagreeing:
        lines.append(f"name, header or sidecar disagree with the weights: {totals.disagreeing}")
    return lines


def _printer(found: "FoundFiles", is_folder: bool, as_json: bool) -> "Callable[[Inspection], None]":
    """Return a function that prints an inspection: as JSON, as a row of a table, or as a table of its own."""
    if as_json:
        return _print_json
    from autolora.cli.row_printer import RowPrinter  # which reads names as the hubs do

    return RowPrinter([file.path for file in found.files]).print if is_folder else _print_facts


def _print_json(inspection: "Inspection") -> None:
    print(json.dumps(inspection.to_row(), ensure_ascii=False))


def _print_facts(inspection: "Inspection") -> None:
    from autolora.inspection.facts import facts

    print_facts({"file": inspection.path} | facts(inspection))
