"""Loading LoRA updates from the pool's weights."""

from collections.abc import Sequence
from pathlib import Path

from autolora.errors import MissingArtifact, RefusedFile, rerun
from autolora.lora.factors import Lora
from autolora.lora.read import read
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.slots import Slot


def load_lora(root: Path, sha256: str, slots: Sequence[Slot], bounds: PoolParams) -> Lora:
    """Return the updates of an adapter, read from the pool.

    Raises MissingArtifact if the weights are missing or damaged.
    """
    path = pool.weights_path(root, sha256)
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
    try:
        return read(
            path.resolve(), slots, bounds
        ).lora  # resolve: the weights may be a symbolic link made by DVC
    except RefusedFile as error:
        raise MissingArtifact(f"{path} is damaged ({error}): delete it and {rerun('pool')}") from error
