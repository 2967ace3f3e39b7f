"""`autolora doctor`."""

from dataclasses import asdict

import typer

from autolora.cli.command import enter_repository
from autolora.cli.options import Json
from autolora.cli.output import to_json
from autolora.wording import counted, printable


def doctor(as_json: Json = False) -> None:
    """Find what would stop a refresh hours after its start, in seconds, and print the remedies.

    Looks at the GPU, disks, models with their licenses, files of params.yaml, hubs, captioning servers, Prefect, Ray,
    git, DVC's remote, the training and the clock. It writes small files, into the remote too, and removes them. The
    exit code is 1 if something stops a refresh.
    """
    from autolora.doctor import examine

    root, params = enter_repository()
    found = examine(root, params)
    if as_json:
        print(to_json([asdict(trouble) for trouble in found]))
    else:
        for trouble in found:
            print(printable(f"{'stops a refresh' if trouble.stops else 'note'}: {trouble.what}"))
            print(printable(f"    {trouble.remedy}"))
        stops = sum(trouble.stops for trouble in found)
        count = f"{counted(stops, 'trouble')}, {counted(len(found) - stops, 'note')}"
        print(count if found else "no trouble found")
    if any(trouble.stops for trouble in found):
        raise typer.Exit(1)
