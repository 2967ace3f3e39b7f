"""Files of tensors, written atomically."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.storage.files import raising_disk_full, replacing

if TYPE_CHECKING:
    from torch import Tensor


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; an existing one is replaced. Raises DiskFull."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with raising_disk_full(path.parent), replacing(path) as temporary:
        save_file(dict(tensors), temporary, dict(metadata))
