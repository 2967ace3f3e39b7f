"""`autolora import KIND`: encoder or gates."""

from pathlib import Path
from typing import Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.cli.options import PublishedFile
from autolora.cli.paths import to_absolute


def import_encoder(
    file: PublishedFile,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default data/encoder.")] = None,
) -> None:
    """Convert a published encoder (.safetensors) to this project's format."""
    announce(f"reading {file}")
    from autolora import models
    from autolora.encoder import store
    from autolora.encoder.released_format import import_encoder
    from autolora.presets.encoder import ENCODER
    from autolora.storage.hashes import hash_file

    file, folder = to_absolute(file), to_absolute(output) if output else None
    root, params = enter_repository()
    models.set_threads(params.models)
    released = params.encoder.preset == "released"
    encoder = import_encoder(
        file,
        params.encoder.variant if released else ENCODER["released"],
        models.transformer_config(params.models),
        models.load_text_encoder(params.models),
    )
    store.save_encoder(folder or store.folder(root), encoder)
    if folder is None:
        store.write_encoder_digest(root, encoder, {"file": hash_file(file)}, adapters=0, texts=0)
        print("run `dvc commit --force encoder`, so that DVC keeps this encoder, and then `dvc repro index`")
    print(f"wrote {folder or store.folder(root)}")


def import_gates(
    file: PublishedFile,
    output: Annotated[Path | None, typer.Option(help="Folder to write; default data/fusion.")] = None,
) -> None:
    """Convert published gates (.safetensors) to this project's format."""
    announce(f"reading {file}")
    from autolora import models
    from autolora.fusion import store
    from autolora.fusion.released_format import load_published
    from autolora.lora.slots import slots
    from autolora.storage.hashes import hash_file

    file, folder = to_absolute(file), to_absolute(output) if output else None
    root, params = enter_repository()
    transformer = models.transformer_config(params.models)
    released = params.fusion.preset == "released"
    gates = load_published(file, transformer, params.fusion.variant if released else None)
    store.save(gates, slots(transformer), folder or store.folder(root))
    if folder is None:
        store.write_fusion_digest(root, gates, {"file": hash_file(file)}, adapters=0, left_out=0)
        print("run `dvc commit --force fusion`, so that DVC keeps these gates")
    print(f"wrote {folder or store.folder(root)}")
