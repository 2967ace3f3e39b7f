"""`autolora publish`."""

from pathlib import Path
from typing import Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.hubs.huggingface.repositories import check_upload
from autolora.storage.files import MB


def publish(
    folder: Annotated[Path, typer.Argument(help="Folder to write: a new or empty one, or one to replace.")],
    license: Annotated[
        str | None,
        typer.Option(help="License that the card states, as Hugging Face names it, e.g. apache-2.0."),
    ] = None,
    encoder_only: Annotated[
        bool,
        typer.Option("--encoder-only", help="Leave the index out: the encoder reads the files of others."),
    ] = False,
    push: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Upload the folder to this Hugging Face repository (owner/name)."),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="If the repository is new, create it as a private one.")
    ] = False,
) -> None:
    """Write index and encoder with text encoder, gates and card: for `autolora.open` and `--encoder` anywhere."""
    if private and push is None:
        raise typer.BadParameter("it is for an upload: add --push ID", param_hint="--private")
    folder = folder.expanduser().absolute()
    root, params = enter_repository()
    if push is not None:
        check_upload(push)
    announce(f"writing into {folder}")
    from autolora.metrics.summary import read_numbers
    from autolora.publication.folder import PLACEHOLDER, push_to_hub, write_publication

    manifest = write_publication(
        root,
        params,
        folder,
        license=license,
        name=push or PLACEHOLDER,
        encoder_only=encoder_only,
        metrics=read_numbers(root),
    )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    parts = [f"index {manifest.index.digest[:12]}"] if manifest.index else []
    parts += ["encoder"] if manifest.encoder else []
    print(f"wrote {folder}: {size / MB:.2f} MB, {', '.join(parts)}")
    if not manifest.encoder:
        print(f"the encoder is not in it, because it is that of another publication: {params.encoder.from_}")
    if push is None:
        return
    commit = push_to_hub(folder, push, private=private)
    print(f"uploaded to {push}, commit {commit}")
    if manifest.index:
        print(f"open it with autolora.open('{push}', revision='{commit}')")
    if manifest.encoder:
        print(f"in params.yaml of another project:\nencoder:\n  from: {push}\n  from_revision: {commit}")
