"""`autolora verify` and `autolora repair`."""

from typing import Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Json
from autolora.cli.output import to_json


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
        for finding in result.findings:
            print(f"{finding.problem:8} {finding.path}{f' ({finding.detail})' if finding.detail else ''}")
        for path in result.unversioned:
            print(f"{path} is not yet versioned: run `python -m flows.dvc`")
        for phrase in result.changed_inputs:
            print(phrase)
        print(
            f"{result.read} of {sum(result.files.values())} files read, {result.bytes / 1e6:.1f} MB in "
            f"{result.seconds:.1f} s ({result.mb_per_s:.0f} MB/s): {len(result.findings)} findings"
        )
    if result.findings:
        raise typer.Exit(1)


def repair(
    apply: Annotated[
        bool, typer.Option("--apply", help="Restore the files; without it, only name their sources.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Allow trainings where no other source exists.")
    ] = False,
) -> None:
    """Restore what `autolora verify` finds, from DVC, git, the hubs or by recomputing. A dry run unless --apply."""
    announce("verifying all files first")
    from autolora.integrity.repair import plan_repair
    from autolora.integrity.repair import repair as repair_all

    root, params = enter_repository()
    repairs = (repair_all if apply else plan_repair)(root, params, train=train)
    for row in repairs:
        source = f"from {row.source}" if row.source else "no source"
        print(
            f"{row.finding.problem:8} {row.finding.path}: {source}{f' ({row.remark})' if row.remark else ''}"
        )
    restorable = sum(row.source is not None for row in repairs)
    if apply:
        print(f"{restorable} of {len(repairs)} findings repaired and verified again")
    else:
        advice = ": run `autolora repair --apply`" if restorable else ""
        print(f"{restorable} of {len(repairs)} findings have a source{advice}")
    if restorable < len(repairs):
        raise typer.Exit(1)
