"""`autolora publish KIND`: encoder, gates or index."""

from pathlib import Path
from typing import Annotated

import typer

from autolora.cli.command import announce, enter_repository
from autolora.errors import MismatchError
from autolora.hubs.huggingface.repositories import check_upload, is_hub_id
from autolora.params import Params
from autolora.pretrained.card import CardFacts
from autolora.pretrained.config import DType, PretrainedConfig
from autolora.pretrained.source import SECTIONS
from autolora.storage.files import MB

Folder = Annotated[Path, typer.Argument(help="Folder to write.")]
License = Annotated[
    str, typer.Option(help="License of the weights, as Hugging Face names it, e.g. apache-2.0.")
]
BaseModel = Annotated[
    str | None,
    typer.Option(help="Hugging Face id of the base pipeline; default models.pipeline if it is one."),
]
Precision = Annotated[DType, typer.Option("--dtype", help="Precision of the weights.")]
Push = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Upload the folder to this Hugging Face repository (owner/name)."),
]
Private = Annotated[
    bool, typer.Option("--private", help="If the repository is new, create it as a private one.")
]


def publish_encoder(
    folder: Folder,
    license: License,
    base_model: BaseModel = None,
    dtype: Precision = "float32",
    rank: Annotated[
        int | None,
        typer.Option(min=1, help="Store the regression's weights as factors of this rank or less."),
    ] = None,
    with_pipeline: Annotated[
        bool,
        typer.Option(
            "--with-pipeline", help="Add text encoder and tokenizer, so that a search needs no more."
        ),
    ] = False,
    push: Push = None,
    private: Private = False,
) -> None:
    """Write the trained encoder with a model card, to be used elsewhere by `encoder.from`."""
    name, folder = push or _card_name(folder), folder.expanduser().absolute()
    root, params = _prepare(push, private)
    _check_trained_here("encoder", params.encoder.from_)
    announce(f"writing the encoder into {folder}")
    from autolora.encoder import store
    from autolora.encoder.pretrained import save_pretrained
    from autolora.encoder.tags import load_tags
    from autolora.matching.language import Language
    from autolora.pretrained.training_set import read_training_set

    config = save_pretrained(
        folder,
        store.load_encoder(store.folder(root)),
        read_training_set(root, "encoder"),
        _facts(root, name, license, base_model or _hub_id(params.models.pipeline)),
        tags=load_tags(store.folder(root)),
        language=Language.load(store.folder(root)),
        dtype=dtype,
        rank=rank,
        pipeline=params.models if with_pipeline else None,
    )
    _finish_model(folder, config, push, private)


def publish_gates(
    folder: Folder,
    license: License,
    base_model: BaseModel = None,
    dtype: Precision = "float32",
    push: Push = None,
    private: Private = False,
) -> None:
    """Write the trained gates with a model card, to be used elsewhere by `fusion.from`."""
    name, folder = push or _card_name(folder), folder.expanduser().absolute()
    root, params = _prepare(push, private)
    _check_trained_here("fusion", params.fusion.from_)
    announce(f"writing the gates into {folder}")
    from autolora import models
    from autolora.fusion import store
    from autolora.fusion.pretrained import save_pretrained
    from autolora.lora.slots import slots
    from autolora.pretrained.training_set import read_training_set

    config = save_pretrained(
        folder,
        store.load(slots(models.transformer_config(params.models)), store.folder(root)),
        read_training_set(root, "fusion"),
        _facts(root, name, license, base_model or _hub_id(params.models.pipeline)),
        dtype=dtype,
    )
    _finish_model(folder, config, push, private)


def publish_index(folder: Folder, push: Push = None, private: Private = False) -> None:
    """Write the served index with text encoder, gates and card, so that `autolora.open` opens it anywhere."""
    folder = folder.expanduser().absolute()
    root, params = _prepare(push, private)
    announce(f"writing the index into {folder}")
    from autolora.publication.folder import PLACEHOLDER, push_to_hub, write_published_index

    manifest = write_published_index(root, params, folder, push or PLACEHOLDER)
    _print_folder(folder, f"index {manifest.index[:12]}")
    if push is not None:
        commit = push_to_hub(folder, push, private=private)
        _print_upload(push, commit, f"open it with autolora.open('{push}', revision='{commit}')")


def _prepare(push: str | None, private: bool) -> tuple[Path, Params]:
    """Enter the project and return its root and params.

    Raises HubError if nothing can be uploaded to the id; a usage error if a private repository has no id.
    """
    if private and push is None:
        raise typer.BadParameter("it is for an upload: add --push ID", param_hint="--private")
    root, params = enter_repository()
    if push is not None:
        check_upload(push)
    return root, params


def _check_trained_here(section: str, source: str | None) -> None:
    if source is not None:
        raise MismatchError(
            f"{section}.from is {source}: this project has not trained the model that it uses; run this command in the "
            "project that has trained it"
        )


def _card_name(folder: Path) -> str:
    """Return the name of a model that is not uploaded: the folder as given, but no path of this machine."""
    return folder.name if folder.is_absolute() else folder.as_posix()


def _facts(root: Path, name: str, license: str, base_model: str | None) -> CardFacts:
    from autolora.metrics.summary import read_numbers

    return CardFacts(name=name, license=license, base_model=base_model, metrics=read_numbers(root))


def _hub_id(name: str) -> str | None:
    return name if is_hub_id(name) else None


def _finish_model(folder: Path, config: PretrainedConfig, push: str | None, private: bool) -> None:
    """Print what was written, and upload it if an id is given."""
    from autolora.pretrained.folder import push_to_hub

    _print_folder(folder, f"relative error of a tensor at most {config.weights_error:.2g}")
    if push is not None:
        commit = push_to_hub(folder, push, config.kind, private=private)
        values = f"{SECTIONS[config.kind]}:\n  from: {push}\n  from_revision: {commit}"
        _print_upload(push, commit, f"in params.yaml of another project:\n{values}")


def _print_folder(folder: Path, facts: str) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"wrote {folder}: {size / MB:.2f} MB, {facts}")


def _print_upload(repo_id: str, commit: str, use: str) -> None:
    print(f"uploaded to {repo_id}, commit {commit}; {use}")
