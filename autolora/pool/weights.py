"""Adapters' updates from the pool's weights."""

from collections.abc import Sequence
from pathlib import Path

from autolora.errors import MissingArtifact, RefusedFile
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.slots import Slot


def load_lora(root: Path, sha256: str, slots: Sequence[Slot], bounds: PoolParams) -> Lora:
    """Read an adapter's updates from the pool.

    Raises MissingArtifact when the pool does not hold it, or holds it damaged.
    """
    path = pool.weights_path(root, sha256)
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: {pool.AGAIN} to get it from its hub; an adapter that was withdrawn cannot be "
            "had any more"
        )
    try:
        return read(path.resolve(), slots, bounds).lora  # DVC may have put a link there
    except RefusedFile as error:
        raise MissingArtifact(f"{path} is damaged ({error}): delete it and {pool.AGAIN}") from error
