"""`autolora serve`."""

import os
from typing import Annotated

import typer

from autolora.cli.command import enter_repository
from autolora.web import PORT


def serve(
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; any but this machine's own needs a token: that of AUTOLORA_TOKEN, or a new one."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 chooses a free one.")
    ] = PORT,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show a page on which prompts and files find adapters; it follows each release until it is stopped (Ctrl-C)."""
    root, params = enter_repository()
    # searches run beside each other: if each used all cores, 20 users would wait three times as long
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy reads it when it is imported
    from autolora.web.server import listen, make_server, open_browser

    address = listen(host, port, os.environ)
    print(f"opening the index of {root}", flush=True)

    def announce() -> None:
        print(f"open {address.printed_url}  (stop with Ctrl-C)", flush=True)
        if open_page and address.token:
            print("not opened here, as others can read the arguments of a browser: open the address above")
        elif open_page:
            open_browser(address.url)

    make_server(root, params, address, announce).run(sockets=[address.listener])
