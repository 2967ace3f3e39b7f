"""`autolora publish-index`."""

from pathlib import Path
from typing import Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import Rev
from autolora.storage.files import MB


def publish_index(
    folder: Annotated[Path, typer.Argument(help="New folder to write.")],
    rev: Rev = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Upload the folder to this Hugging Face repository (owner/name)."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, create it as a private one.")
    ] = False,
) -> None:
    """Write the served index with text encoder, gates and card, so that `autolora.open` opens it anywhere."""
    folder = folder.expanduser().absolute()
    root, params = enter_repository()
    announce(f"writing {folder}")
    from autolora.publication.folder import write_published_index
    from autolora.publication.source import upload

    manifest = write_published_index(root, params, folder, rev)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: index {manifest.index[:12]}, {size / MB:.1f} MB")
    if push is not None:
        commit = upload(folder, push, private=private)
        print(f"uploaded: autolora.open('{push}', revision='{commit}')")
