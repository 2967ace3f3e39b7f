"""Loading LoRA updates from the pool's weights."""

import os
from collections.abc import Sequence
from pathlib import Path

from autolora.errors import MissingArtifact, RefusedFile, rerun
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.slots import Slot
from autolora.storage.hashes import hash_file


def load_lora(root: Path, sha256: str, slots: Sequence[Slot], bounds: PoolParams) -> Lora:
    """Return the updates of an adapter, read from the pool.

    Raises MissingArtifact if the weights are missing or damaged.
    """
    path = pool.weights_path(root, sha256)
    if pool.is_link_outside(root, sha256) and not path.exists():
        raise MissingArtifact(
            f"{os.readlink(path)} was moved or deleted since it was indexed: run `autolora index`, and search again"
        )
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: {rerun('pool')} to download it; a file that its hub has withdrawn is no longer "
            "available"
        )
    if not pool.has_weights(root, sha256):
        raise MissingArtifact(
            f"{path} is empty: the file was taken down (data/takedowns.jsonl), or is damaged and can be restored with "
            "`autolora repair`"
        )
    if pool.is_link_outside(root, sha256) and hash_file(path) != sha256:
        raise MissingArtifact(
            f"{path.resolve()} has changed since it was indexed: run `autolora index`, and search again"
        )
    try:
        return read(
            path.resolve(), slots, bounds
        ).lora  # resolve: the weights may be a symbolic link made by DVC
    except RefusedFile as error:
        raise MissingArtifact(f"{path} is damaged ({error}): delete it and {rerun('pool')}") from error
