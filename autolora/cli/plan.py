"""`autolora plan`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_table, to_json
from autolora.cli.paths import to_absolute
from autolora.progress import duration
from autolora.show.naming import file_size

if TYPE_CHECKING:
    from autolora.planning.plan import Plan


def plan(
    params: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Params file. Default: that of the surrounding project."),
    ] = None,
    adapters: Annotated[
        int | None,
        typer.Option(min=1, help="Number of adapters. Default: the catalog's, else what a night admits."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate time, disk and memory of each stage before it costs anything; exit with 1 if something does not fit."""
    from autolora.params import load
    from autolora.planning.plan import make_plan

    file = to_absolute(params) if params else None
    root, values = (None, load(file)) if file else enter_repository()
    planned = make_plan(values, root, adapters)
    print(to_json(asdict(planned))) if as_json else _print(planned)
    raise typer.Exit(int(bool(planned.lacks)))


def _print(planned: "Plan") -> None:
    """Print the table of a plan, the memory that an image needs, and what does not fit."""
    work, total = planned.workload, planned.total
    counts = f"{work.adapters:,} adapters, {work.images:,} images, {work.captions:,} captions"
    rows = [
        (name, duration(seconds), *map(_size, sizes))
        for name, seconds, *sizes in [
            *((row.stage, row.seconds, row.disk, row.memory, row.gpu_memory) for row in planned.stages),
            ("all", total["seconds"], total["disk"], total["memory"], total["gpu_memory"]),
        ]
    ]
    print_table(("stage", "time", "disk", "memory", "GPU"), rows, f"{counts}, on {planned.device}")
    if planned.models_disk:
        print(f"models to download: {_size(planned.models_disk)} of the disk")
    if planned.server_gpu_memory:
        print(f"the vLLM server: {_size(planned.server_gpu_memory)} of the card beside these stages")
    for memory, size in planned.drawing.items():
        print(f"an image with three adapters, models.memory: {memory or 'null'}: {_size(size)} of the card")
    print("\n- ".join(["Does not fit:", *planned.lacks]) if planned.lacks else "Everything fits.")


def _size(size: float) -> str:
    return file_size(round(size)) if size else "–"
