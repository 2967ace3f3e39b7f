"""Arguments and options that several commands have, or that filter adapters."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from autolora.params import limits


def parse_day(text: str) -> datetime:
    """Return a day that an option names. Raises a usage error if it is not one."""
    try:
        return datetime.strptime(text, "%Y-%m-%d")
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not a day (YYYY-MM-DD)") from error


PromptOrNone = Annotated[str | None, typer.Argument(metavar="PROMPT", help="What the image should show.")]
ImageFile = Annotated[
    Path | None,
    typer.Option("--image", metavar="FILE", help="Search for what an image shows: a model captions it."),
]
Pipeline = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER|flux.1-dev",
        help="Base model: the folder of a FluxPipeline, or flux.1-dev. Default: the surrounding project's, else "
        "flux.1-dev.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rev = Annotated[str | None, typer.Option("--rev", help="Use the index of this git commit, branch or tag.")]
Licenses = Annotated[
    list[str] | None,
    typer.Option("--license", metavar="LICENSE", help="License, as the hub writes it; repeat for several."),
]
MaySell = Annotated[bool, typer.Option("--may-sell", help="Commercial use is permitted.")]
Derivatives = Annotated[bool, typer.Option("--derivatives", help="Changed versions are permitted.")]
Nsfw = Annotated[
    bool | None, typer.Option("--nsfw/--no-nsfw", help="Is, or is not, marked not safe for work.")
]
Person = Annotated[
    bool | None, typer.Option("--person/--no-person", help="Is, or is not, reported to show a real person.")
]
BaseModels = Annotated[
    list[str] | None,
    typer.Option("--base", metavar="BASE", help="Base model, e.g. flux.1-dev; repeat for several."),
]
MaxRank = Annotated[int | None, typer.Option(min=1, max=100_000, help="Largest rank of the adapter.")]
MaxMb = Annotated[float | None, typer.Option(min=0, max=1e9, help="Largest size of the file, in 10^6 bytes.")]
Hubs = Annotated[list[str] | None, typer.Option("--hub", metavar="HUB", help="Hub; repeat for several.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_day, metavar="YYYY-MM-DD", help="First seen on this day or later (YYYY-MM-DD)."
    ),
]
Families = Annotated[
    list[str] | None,
    typer.Option("--family", metavar="SHA256", help="Family, named by a sha256; repeat for several."),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="SQL", help='SQL condition on columns, e.g. "rank_max < 32"; repeat for several.'
    ),
]


def check_prompt(prompt: str) -> None:
    """Raise a usage error if a prompt is empty, or not a text because the terminal gave bytes that are not UTF-8."""
    try:
        limits.check_prompt(prompt)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="PROMPT") from error
