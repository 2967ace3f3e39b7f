"""Loading LoRA updates from files of weights that are named by their sha256."""

import os
from collections.abc import Sequence
from pathlib import Path

from autolora.errors import MismatchError, MissingArtifact, RefusedFile
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.lora.slots import Slot
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.storage.hashes import hash_file

RESTORE = "run `autolora verify`, which names the command that restores it"


def load_lora(
    root: Path, sha256: str, slots: Sequence[Slot], bounds: PoolParams, *, check_hash: bool = True
) -> Lora:
    """Return the updates of an adapter, read from the pool.

    check_hash: whether to hash the file first; a training, which reads a file many times, does without.
    Raises MissingArtifact if the weights are missing or damaged, MismatchError if they are of another base model.
    """
    path = pool.weights_path(root, sha256)
    if pool.is_link_outside(root, sha256) and not path.exists():
        raise MissingArtifact(
            f"{os.readlink(path)} was moved or deleted since it was indexed: run `autolora index`, and search again"
        )
    if not path.exists():
        raise MissingArtifact(f"{path} does not exist: {RESTORE}")
    if not pool.has_weights(root, sha256):
        raise MissingArtifact(
            f"{path} is empty: the file was taken down (data/takedowns.jsonl), or is damaged; in that case {RESTORE}"
        )
    if pool.is_link_outside(root, sha256):
        if hash_file(path) != sha256:
            raise MissingArtifact(
                f"{path.resolve()} has changed since it was indexed: run `autolora index`, and search again"
            )
    elif check_hash:
        check_sha256(path, sha256, RESTORE)
    return read_intact(path, sha256, slots, bounds, RESTORE)


def check_sha256(path: Path, sha256: str, remedy: str) -> None:
    """Raise MissingArtifact if a file has another sha256. remedy: what to do then."""
    if (actual := hash_file(path)) != sha256:
        raise MissingArtifact(f"{path} is damaged (its sha256 is {actual}, expected {sha256}): {remedy}")


def read_intact(path: Path, sha256: str, slots: Sequence[Slot], bounds: PoolParams, remedy: str) -> Lora:
    """Return the updates in a file that was accepted when it had this sha256.

    remedy: what to do if it has another one now. Raises MissingArtifact if it has and cannot be read, MismatchError if
    the file is intact, so that it was accepted for another base model or other bounds.
    """
    try:
        return read(path.resolve(), slots, bounds).lora  # the weights may be a symbolic link made by DVC
    except RefusedFile as error:
        if hash_file(path) != sha256:
            raise MissingArtifact(f"{path} is damaged ({error}): {remedy}") from error
        if error.code == "lokr":
            raise MismatchError(
                f"{path} can be searched, but not drawn, fused or exported ({error}): leave this adapter out"
            ) from error
        raise MismatchError(
            f"{path} is intact, but does not fit the base model, or the section pool of params.yaml ({error}): set "
            "both as they were when the file was accepted, or run `dvc repro`, which reads all files again"
        ) from error
