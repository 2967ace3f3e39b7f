"""The command line. Each command calls the library and prints the result; no other room of autolora reads argv."""

from collections.abc import Callable
from typing import Annotated

import typer

from autolora.cli.command import command
from autolora.cli.doctor import doctor
from autolora.cli.evaluate import evaluate
from autolora.cli.export import export
from autolora.cli.flows import prune, refresh, takedown
from autolora.cli.generate import generate
from autolora.cli.index import index
from autolora.cli.inspect import inspect
from autolora.cli.options import Json
from autolora.cli.plan import plan
from autolora.cli.publish import publish
from autolora.cli.search import search
from autolora.cli.serve import serve
from autolora.cli.show import show
from autolora.cli.status import status
from autolora.cli.verify import verify
from autolora.cli.versions import diff, lift, promote, rollback, versions
from autolora.cli.vllm import vllm
from autolora.extras import Extra

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Search and generate": (search, generate, serve, show),
    "Your own LoRA files": (inspect, export, index),
    "Share an index and its encoder": (publish,),
    "Operation": (refresh, takedown, prune, status, doctor, plan, evaluate, verify, vllm),
}
"""by heading of the help, and in its order"""
EXTRAS: dict[str, Extra] = {"inspect": "weights", "export": "weights", "serve": "serve"}
"""command -> the extra that it needs; that of all others is `pipeline`, and a search needs none"""
VERSIONS: tuple[Callable[..., None], ...] = (diff, rollback, promote, lift)
"""commands below `versions`"""


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version  # here, because its import takes a tenth of a search

        print(f"autolora {version('autolora')}")
        raise typer.Exit


app = typer.Typer(
    help="Find FLUX LoRAs by the content of their weights, and generate images with them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that precede a command."""


for heading, functions in COMMANDS.items():
    for function in functions:
        app.command(rich_help_panel=heading)(command(function, EXTRAS.get(function.__name__, "pipeline")))
releases = typer.Typer(
    help="List the releases, compare two, go back to one, or promote one.",
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] [ARGS]...",
)
list_versions = command(versions)


@releases.callback()
def list_unless_command(context: typer.Context, as_json: Json = False) -> None:
    """List the releases, compare two, go back to one, or promote one."""
    if context.invoked_subcommand is None:
        list_versions(as_json=as_json)


for function in VERSIONS:
    releases.command()(command(function))
app.add_typer(releases, name="versions", rich_help_panel="Operation")
