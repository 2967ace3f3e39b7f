"""The folder of a pretrained model: config.json, model.safetensors, README.md (the model card) and, if it contains
them, the parts of the base pipeline that a search needs.

config.json states the sha256 of all other files but the card, so that a damaged or incomplete copy is noticed.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact
from autolora.hubs.huggingface.repositories import check_files, upload
from autolora.pretrained.card import CardFacts, write_card
from autolora.pretrained.config import (
    CARD,
    CONFIG,
    NAMES,
    PATTERNS,
    PIPELINE,
    WEIGHTS,
    Kind,
    PretrainedConfig,
    read_config,
)
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_file

REMEDY = "copy the folder again; if it is in a download cache, delete it there and download it again"


def claim_folder(folder: Path, kind: Kind) -> None:
    """Prepare a folder for a pretrained model: a new or empty one, or that of an earlier model of this kind, whose
    parts of the base pipeline are removed. Until its config.json is replaced, it counts as damaged.

    Raises MismatchError if it contains anything else, MissingArtifact if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise MissingArtifact(
            f"cannot write to {folder} ({error}): give a folder that can be written"
        ) from error
    if is_empty:
        return
    try:
        read_config(folder, kind)
    except (MissingArtifact, MismatchError) as error:
        raise MismatchError(
            f"{folder} is not empty and does not hold {NAMES[kind]}: give a new or empty folder"
        ) from error
    shutil.rmtree(folder / PIPELINE, ignore_errors=True)


def write_folder(
    folder: Path, config: PretrainedConfig, facts: CardFacts, tensors: Mapping[str, Tensor]
) -> PretrainedConfig:
    """Write the weights, the card and, last, config.json; return the config with the sha256 of the weights.

    config: its `files` are in the folder already.
    """
    write_atomic(folder / WEIGHTS, save_tensors(dict(tensors)))
    config = replace(config, files={**config.files, WEIGHTS: hash_file(folder / WEIGHTS)})
    write_atomic(folder / CARD, write_card(config, facts))
    write_atomic(folder / CONFIG, config.to_json())
    return config


def read_folder(folder: Path, kind: Kind) -> tuple[PretrainedConfig, dict[str, Tensor]]:
    """Return config and tensors of a folder, all of whose files are as config.json states.

    Raises MissingArtifact if a file is missing or damaged, MismatchError if the folder holds a model of another kind or
    layout.
    """
    config = read_config(folder, kind)
    check_files(folder, config.files, CONFIG, REMEDY)
    try:
        tensors: dict[str, Tensor] = load_tensors((folder / WEIGHTS).read_bytes())
    except SafetensorError as error:
        raise MissingArtifact(
            f"{folder / WEIGHTS} is not a file of tensors ({error}): copy or download the folder again"
        ) from error
    return config, tensors


def push_to_hub(folder: Path, repo_id: str, kind: Kind, *, private: bool = False) -> str:
    """Upload a folder to a Hugging Face repository, which is created if it does not exist; return the commit.

    Raises MissingArtifact if the folder is damaged, MismatchError if it holds something else, HubError if the upload
    fails.
    """
    read_folder(folder, kind)
    return upload(folder, repo_id, PATTERNS, private=private, message=f"Publish the {kind}")
