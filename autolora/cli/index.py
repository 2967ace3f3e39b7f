"""`autolora index`."""

import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.errors import AutoLoraError, MissingArtifact, ParamsError
from autolora.interrupt import exit_on_interrupt
from autolora.local.project import PARAMS_FILE, find_project, train_until
from autolora.params import load
from autolora.stages import is_pipeline
from autolora.storage.files import raising_disk_full, write_atomic

if TYPE_CHECKING:
    from autolora.local.indexing import IndexReport

MAX_PROBLEMS = 10
"""that are printed"""
MAX_NAMES = 3
"""files of one verdict that are named"""


def index(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of your LoRA files; default that of params.yaml.")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|ID[@REVISION]",
            help="Published encoder, which reads weights: a folder, or an id on Hugging Face.",
        ),
    ] = None,
    draw: Annotated[
        bool,
        typer.Option(
            "--draw", help="Let files without images draw some with the base model, to be found by."
        ),
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Train an encoder on the captions of these files' images.")
    ] = False,
) -> None:
    """Make the LoRA files in FOLDER searchable, where they are; without git or DVC.

    Without an encoder they are found by what is said about them: names, headers, sidecars and captions. Without a
    project, one is written into the working directory. Later runs read new files only.
    """
    started = time.perf_counter()
    again = " ".join(["autolora index", *["--draw"] * draw, *["--train"] * train])
    exit_on_interrupt(f"interrupted: what is finished is kept, and `{again}` continues from there")
    if folder:
        announce(f"indexing {folder}")
    former = _read_params()
    written = _prepare_project(folder, encoder)
    try:
        report = _index_project(folder, draw, train)
    except (AutoLoraError, ModuleNotFoundError) as error:
        if written and not isinstance(error, ParamsError):  # which says what to set in it
            written.unlink(missing_ok=True)
            announce(f"removed {written}, because its first run failed")
        elif former and former != _read_params():
            write_atomic(former[0], former[1])
            announce(f"{former[0]} has again the values from before this command, because it failed")
        raise
    print("\n".join(describe(report, time.perf_counter() - started)))


def _read_params() -> tuple[Path, str] | None:
    """Return params.yaml of the project and its text; None without a project."""
    root = find_project(Path.cwd())
    return (root / PARAMS_FILE, (root / PARAMS_FILE).read_text(encoding="utf-8")) if root else None


def _index_project(folder: Path | None, draw: bool, train: bool) -> "IndexReport":
    """Index the folder of the project. folder: as given, None if it was not.

    draw: let files without images draw. train: train an encoder on the files of today, which params.yaml then states.
    """
    root, params = enter_repository()
    if not folder:
        announce(f"indexing {params.hubs.folder.path}")
    from autolora.local.indexing import index_folder

    today = date.today()
    if train:
        train_until(root, today)
        params = load(root / PARAMS_FILE)
    with raising_disk_full(root):
        return index_folder(root, params, today, draw=draw, train=train)


def _prepare_project(folder: Path | None, encoder: str | None) -> Path | None:
    """Write a project into the working directory if there is none, or complete the one that there is.

    Returns the new params.yaml, None if there was one. Raises ParamsError if DVC runs the stages of the project, or if
    it has another folder or encoder.
    """
    here = Path.cwd()
    root = find_project(here)
    if root is None or (is_pipeline(root) and root != here):
        if folder is None:
            raise MissingArtifact(
                f"{here} is not yet a project: give the folder of your LoRA files (`autolora index FOLDER`), and, if "
                "there is one for their base model, a published encoder (`--encoder FOLDER|ID`)"
            )
        from autolora.local.settings import new_project

        path = new_project(here, folder, encoder)
        announce(f"wrote {path}")
        _announce_device(path)
        return path
    if is_pipeline(root):
        raise ParamsError(
            f"DVC makes the index of {root}: run `autolora index` in another folder, or add yours as a hub of this "
            "pipeline (hubs.folder.path and crawl.hubs in params.yaml)"
        )
    if folder or encoder:
        from autolora.local.settings import complete_project

        if changed := complete_project(root, folder, encoder):
            announce(f"set {', '.join(changed)} in params.yaml")
    return None


def describe(report: "IndexReport", seconds: float) -> Iterator[str]:
    """Yield what a run found and did, line by line."""
    from autolora.hubs import describe_rejection
    from autolora.pool.near_duplicates import NEAR_DUPLICATE
    from autolora.records import ACCEPTED

    verdicts = dict(report.verdicts)
    accepted, similar = verdicts.pop(ACCEPTED, ()), verdicts.pop(NEAR_DUPLICATE, ())
    yield f"{_count(report.files, 'LoRA file')}, {len(accepted)} searchable"
    if report.copies:
        pairs = [f"{id} (same as {other})" for id, other in report.copies.items()]
        yield f"  {_count(len(pairs), 'exact copy', 'exact copies')} of another file: {_names(pairs)}"
    if similar:
        pairs = [f"{id} (kept: {report.originals[id]})" for id in similar]
        yield f"  {_count(len(similar), 'near-duplicate')} of another file: {_names(pairs)}"
    for verdict, ids in verdicts.items():
        bases: dict[str, list[str]] = {}
        for id in ids:
            bases.setdefault(report.bases.get(id, ""), []).append(id)
        ordered = sorted(bases.items(), key=lambda item: (-len(item[1]), item[0]))
        lists = [f"{f'{len(of)} {base}: ' if base else ''}{_names(of)}" for base, of in ordered]
        yield f"  {len(ids)} refused, {_reason(verdict)} ({verdict}): {'; '.join(lists)}"
    for rule, number in report.rejected.items():
        yield f"  {number} left out: {describe_rejection(rule)}"
    if similar or verdicts or report.rejected:
        yield "  `autolora show NAME` says why"
    yield from _describe_images(report)
    yield from (f"  {problem}" for problem in report.problems[:MAX_PROBLEMS])
    if len(report.problems) > MAX_PROBLEMS:
        yield f"  and {_count(len(report.problems) - MAX_PROBLEMS, 'more problem')}"
    changes = ", ".join(f"{number} {change}" for change, number in report.changes.items() if number)
    yield f"index {report.index[:12]}: {changes or 'nothing new'}, in {seconds:.1f} s"
    if report.trained_on:
        yield f"trained an encoder on the captions of {_count(report.trained_on, 'LoRA')}"
    if not report.has_encoder:
        said = f"; nothing is said about {report.unknown} of them" if report.unknown else ""
        yield f"found by names, headers, sidecars and captions{said}"
        yield "  an encoder for their base model adds what the weights do: `autolora index --encoder FOLDER|ID`"
        if report.captions:
            yield "  or train one on these captions: `autolora index --train`"
    if accepted:
        yield 'next: `autolora search "a cat in the style of a linocut"`'


def _describe_images(report: "IndexReport") -> Iterator[str]:
    if report.drawn:
        yield f"{_count(report.drawn, 'LoRA')} without images {'have' if report.drawn > 1 else 'has'} drawn some"
    if report.undrawn:
        limit = f", at most {report.per_day} on a day by drawings.per_day" if report.per_day else ""
        yield f"{_count(len(report.undrawn), 'LoRA')} without images can draw some (`autolora index --draw`{limit})"
    if report.restricted:
        names = _names(report.restricted)
        yield f"{len(report.restricted)} without images must not draw, marked nsfw or as showing a person: {names}"
    if not (report.images or report.refused_images or report.drawings):
        return
    images = _count(report.images, "image")
    if report.drawings:
        images += f", {report.drawings} drawn by the base model"
    captions = _count(report.captions, "new caption")
    yield f"{images}, {captions if report.has_captioner else 'not captioned: captions.engine in params.yaml is null'}"
    if report.refused_images:
        yield f"  {report.refused_images} new images are not valid: data/pool/refused.jsonl names them"
    if report.failed_captions:
        reason = next(iter(report.failed_captions.values()))
        yield f"  {_count(len(report.failed_captions), 'image')} could not be captioned: {reason}"


def _reason(verdict: str) -> str:
    from autolora.lora.verdict import REASONS

    return REASONS[verdict]


def _names(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else ""
    return ", ".join(ids[:MAX_NAMES]) + more


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number} {singular if number == 1 else plural or singular + 's'}"


def _announce_device(path: Path) -> None:
    """Say on what the models of a new project run."""
    device = load(path).models.device
    found = "no GPU that torch can use" if device == "cpu" else "a GPU"
    announce(f"models run on {device}, because this machine has {found} (models.device)")
