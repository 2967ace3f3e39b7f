"""`autolora plan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Json
from autolora.cli.output import print_table, to_json
from autolora.cli.paths import to_absolute

if TYPE_CHECKING:
    from autolora.planning.plan import Plan

KB, UNITS = 1000.0, ("kB", "MB", "GB", "TB")


def plan(
    params: Annotated[
        Path | None,
        typer.Option(
            "--params", metavar="FILE", help="Params file. Default: that of the surrounding project."
        ),
    ] = None,
    adapters: Annotated[
        int | None,
        typer.Option(
            "--adapters",
            min=1,
            help="Number of adapters. Default: the catalog's, else what a night admits.",
        ),
    ] = None,
    images_per_adapter: Annotated[
        float | None,
        typer.Option(
            "--images-per-adapter",
            min=0,
            help="Images of each adapter. Default: the catalog's mean, else crawl.max_renderings.",
        ),
    ] = None,
    listed: Annotated[
        int | None,
        typer.Option(
            "--listed",
            min=1,
            help="Models that the hubs list, admitted or not. Default: the catalog's, else --adapters.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate disk, memory, hours and requests of each stage, before anything is downloaded."""
    from autolora.params import load

    file = to_absolute(params) if params else None
    root, values = (None, load(file)) if file else enter_repository()
    announce(f"counting the operations of {values.models.pipeline}, without its weights")
    from autolora.planning.plan import make_plan
    from autolora.planning.risks import find_risks

    planned = make_plan(values, root, adapters, images_per_adapter, listed)
    risks = find_risks(planned, values, root or Path.cwd())
    if as_json:
        print(to_json(planned.to_json() | {"risks": risks}))
        return
    print_table(_stage_table(planned))
    sections = {
        "Counts": [f"{row.stage}: {row.does}" for row in planned.stages],
        "GPU memory of an image with three adapters, by models.memory": [
            f"{memory or 'null'}: {_size(size)}" for memory, size in planned.drawing.items()
        ],
        "Computed": _computed(planned),
        "Not computed": _not_computed(planned),
        "Risks": risks or ["none found"],
    }
    for title, lines in sections.items():
        if lines:
            print("\n- ".join([f"\n{title}", *lines]))


def _stage_table(planned: "Plan") -> Table:
    """Return a line per stage and one of all."""
    from autolora.wording import counted

    work = planned.workload
    title = (
        f"{counted(work.adapters, 'adapter')}, {counted(work.images, 'image')}, {counted(work.captions, 'caption')}, "
        f"on {planned.device}"
    )
    table = Table(title=title)
    table.add_column("stage", no_wrap=True)
    for name in ("time", "disk", "memory", "GPU", "hub requests", "VLM requests"):
        table.add_column(name, justify="right", no_wrap=" " not in name)
    for row in planned.stages:
        requests = (_count(row.hub_requests), _count(row.vlm_requests))
        table.add_row(
            row.stage, _time(row.seconds), *map(_size, (row.disk, row.memory, row.gpu_memory)), *requests
        )
    table.add_section()
    sums = (sum(getattr(row, name) for row in planned.stages) for name in ("hub_requests", "vlm_requests"))
    sizes = map(_size, (planned.disk, planned.memory, planned.gpu_memory))
    table.add_row("all", _time(planned.seconds), *sizes, *map(_count, sums))
    return table


def _computed(planned: "Plan") -> list[str]:
    """Return what was counted, and where sizes come from."""
    work = planned.workload
    source = "means of the catalog and the pool" if work.from_catalog else "assumed, as there is no catalog"
    lines = [
        "operations, memory traffic, calls and memory of the models, from their layers without weights",
        f"{_size(work.file_bytes)} per LoRA file (rank {work.rank}), {work.image_px:,.0f} px per image: {source}",
        "a run from nothing, one stage after the other; a later run computes only what is new",
    ]
    if planned.models_disk:
        lines.append(f"the disk of all contains {_size(planned.models_disk)} of models that are downloaded")
    if planned.server_gpu_memory:
        lines.append(
            f"the GPU memory of all contains {_size(planned.server_gpu_memory)} of the vLLM server on the same card"
        )
    return lines


def _not_computed(planned: "Plan") -> list[str]:
    """Return the rates that were published or assumed, and how many were measured."""
    rows = [
        rate for name, rate in planned.rates.items() if planned.device != "cpu" or not name.startswith("gpu_")
    ]
    others = [
        f"{rate.basis}: {rate.value:.3g} {rate.unit} ({rate.source}; {rate.date})"
        for rate in rows
        if rate.basis != "measured"
    ]
    measured = [rate for rate in rows if rate.basis == "measured"]
    return [
        *others,
        f"measured: {len(measured)} further rates (`autolora plan --json` names command and day of each)",
    ]


def _time(seconds: float) -> str:
    """Return a duration in one unit, e.g. `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _size(size: float) -> str:
    """Return a size in bytes with a unit, e.g. `1.5 GB`; a dash for none."""
    value = size / KB
    for unit in UNITS[:-1]:
        if float(f"{value:.3g}") < KB:  # as it is printed
            return f"{value:.3g} {unit}" if size else "–"
        value /= KB
    return f"{value:.3g} {UNITS[-1]}"


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"
