"""The command line. Each command calls the library and prints the result; no other room of autolora reads argv."""

import typer

from autolora.cli.command import command
from autolora.cli.evaluate import evaluate
from autolora.cli.export import export
from autolora.cli.generate import generate
from autolora.cli.imports import import_encoder, import_gates
from autolora.cli.index import index, init
from autolora.cli.inspect import inspect
from autolora.cli.publish import publish_encoder, publish_gates, publish_index
from autolora.cli.repair import repair, verify
from autolora.cli.report import report
from autolora.cli.search import search
from autolora.cli.serve import serve
from autolora.cli.show import show
from autolora.cli.versions import release, versions

COMMANDS = (
    init, index, search, serve, generate, evaluate, show, inspect, export, versions, release, verify, repair,
    report, import_encoder, import_gates, publish_encoder, publish_gates, publish_index,
)  # fmt: skip
"""in the order of the help"""

app = typer.Typer(
    help="Find FLUX LoRAs by the content of their weights, and generate images with them.",
    no_args_is_help=True,
)
for function in COMMANDS:
    app.command()(command(function))
