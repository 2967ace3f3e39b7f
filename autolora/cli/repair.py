"""`autolora verify` and `autolora repair`."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Json
from autolora.cli.output import to_json
from autolora.wording import counted

if TYPE_CHECKING:
    from autolora.integrity.verification import Finding

MAX_NAMES = 3
"""outputs that a line names"""


def verify(
    sample: Annotated[
        int | None, typer.Option(min=1, help="Number of random files to read; default all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Read the pool, the outputs of stages, DVC's cache and the index copies, and name what is damaged or missing."""
    announce("reading the files of the pool, of the stages' outputs and of DVC's cache")
    from autolora.integrity.verification import verify as verify_all

    root, _ = enter_repository()
    result = verify_all(root, sample=sample, seed=seed)
    if as_json:
        print(to_json(result.to_row()))
    else:
        for line in _describe(result.findings):
            print(line)
        for path in result.unversioned:
            print(f"{path} is not yet versioned: run `python -m flows.dvc`")
        for phrase in result.changed_inputs:
            print(phrase)
        print(
            f"{result.read} of {sum(result.files.values())} files read, {result.bytes / 1e6:.1f} MB in "
            f"{result.seconds:.1f} s ({result.mb_per_s:.0f} MB/s): {len(result.findings)} findings"
        )
        if result.unasked:
            print(f"the files of evicted batches were not checked: {result.unasked}")
        elif result.remote_only:
            print(
                f"{counted(result.remote_only, 'file')} of evicted batches: DVC's remote was asked for their sizes"
            )
    if result.findings or result.unasked:
        raise typer.Exit(1)


def _describe(findings: "Sequence[Finding]") -> Iterator[str]:
    """Yield a line per finding, but one per evicted batch, and one for all files that DVC's cache lacks too."""
    from autolora.integrity.verification import MISSING, lost_in_remote, not_pulled

    outputs, batches = not_pulled(findings), lost_in_remote(findings)
    lacking = {finding for found in outputs.values() for finding in found}
    grouped = lacking.union(*batches.values())
    for finding in findings:
        if finding not in grouped:
            yield f"{finding.problem:8} {finding.path}{f' ({finding.detail})' if finding.detail else ''}"
    for batch, files in batches.items():
        yield (
            f"{MISSING:8} {counted(len(files), 'file')} of the evicted batch {batch}, which DVC's remote lacks or has "
            "empty: see `autolora repair`"
        )
    if lacking:
        names = ", ".join([*list(outputs)[:MAX_NAMES], *(["…"] if len(outputs) > MAX_NAMES else [])])
        yield (
            f"{MISSING:8} {counted(len(lacking), 'file')} of {counted(len(outputs), 'output')} that DVC's cache lacks "
            f"too ({names}): run `dvc pull`; what no remote has, `dvc repro` makes again"
        )


def repair(
    apply: Annotated[
        bool, typer.Option("--apply", help="Restore what DVC has; without it, nothing is changed.")
    ] = False,
) -> None:
    """Restore what `autolora verify` finds, as far as DVC has it; print the commands that restore the rest."""
    announce("verifying all files first")
    from autolora.integrity.advice import BRING_BACK
    from autolora.integrity.repair import commands, plan_repair
    from autolora.integrity.repair import repair as repair_all
    from autolora.integrity.verification import MISSING, lost_in_remote

    root, _ = enter_repository()
    repairs = (repair_all if apply else plan_repair)(root)
    lost = lost_in_remote([row.finding for row in repairs if row.reason == BRING_BACK])
    for row in repairs:
        how = f"{'restored from' if apply else 'in'} {row.source}" if row.source else row.reason
        if how != BRING_BACK:
            print(f"{row.finding.problem:8} {row.finding.path}: {how}")
    for batch, files in lost.items():
        print(f"{MISSING:8} {counted(len(files), 'file')} of the evicted batch {batch}: {BRING_BACK}")
    from_dvc = sum(row.source is not None for row in repairs)
    if apply:
        print(f"{from_dvc} of {len(repairs)} findings repaired and verified again")
    else:
        hint = ": run `autolora repair --apply`" if from_dvc or lost else ""
        print(f"DVC has {from_dvc} of {len(repairs)} findings{hint}")
    if further := commands(repairs):
        print("to restore the others, run in this order:")
        for command in further:
            print(f"    {command}")
    if from_dvc < len(repairs):
        raise typer.Exit(1)
