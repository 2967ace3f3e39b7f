"""`autolora refresh`, `takedown` and `prune`: each becomes the process of a flow of the project."""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from autolora.cli.options import parse_day
from autolora.errors import MissingArtifact
from autolora.extras import check_installed
from autolora.local.project import PARAMS_FILE

PROJECT = (PARAMS_FILE, "dvc.yaml", "flows")


def refresh(
    train: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_day,
            metavar="YYYY-MM-DD",
            help="Ask no hub; train the encoder on adapters first seen until this day.",
        ),
    ] = None,
) -> None:
    """Crawl the hubs, run the stages that depend on the result, release the index, and report the changes.

    An index with a new training is a candidate: it is served when you promote it (autolora versions promote).
    """
    become_flow("refresh", *([f"--train={train:%Y-%m-%d}"] if train else []))


def takedown(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="hub:id, id, or sha256; none: all that are listed."),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(help="Why: stored in data/takedowns.jsonl and shown in reports.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Erase; without it, nothing is changed.")] = False,
    prove: Annotated[bool, typer.Option("--prove", help="Print what is left of them, and where.")] = False,
) -> None:
    """Erase the weights and images of adapters from the pool, DVC's cache and all remotes, and keep them out."""
    if names and not prove and not (reason or "").strip():
        raise typer.BadParameter(
            "say why (--reason TEXT): takedowns are listed with it", param_hint="--reason"
        )
    given = [] if reason is None else [f"--reason={reason}"]
    flags = [flag for flag, is_given in (("--apply", apply), ("--prove", prove)) if is_given]
    become_flow("takedown", *given, *flags, "--", *(names or []))


def prune(
    keep: Annotated[
        int | None, typer.Option(min=1, help="Releases to keep: the newest; default all.")
    ] = None,
    days: Annotated[
        int, typer.Option(min=0, help="Days after which refused runs and encoded captions go.")
    ] = 30,
    remote: Annotated[bool, typer.Option("--remote", help="Remove objects of the DVC remote too.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Remove; without it, nothing is changed.")] = False,
) -> None:
    """Remove releases, refused runs, objects and copies of indexes that are no longer needed.

    What a kept release, a branch, the working tree, or the served index needs stays.
    """
    given = ([f"--keep={keep}"] if keep else []) + ["--remote"] * remote + ["--apply"] * apply
    become_flow("prune", f"--days={days}", *given)


def become_flow(name: str, *arguments: str) -> NoReturn:
    """Replace this process by `python -m flows.<name>`, which so gets all signals and sets the exit status.

    Raises MissingArtifact if the current folder is not a project with stages, MissingLibrary without the libraries.
    """
    here = Path.cwd()
    if missing := [part for part in PROJECT if not (here / part).exists()]:
        raise MissingArtifact(
            f"{here} is not a project with stages: it contains no {' and no '.join(missing)}. Run `autolora {name}` in "
            "the root of a clone of AutoLoRA; files of your own become searchable with `autolora index FOLDER`"
        )
    check_installed(f"`autolora {name}`", "prefect", "dvc")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", f"flows.{name}", *arguments])
