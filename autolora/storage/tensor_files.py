"""Files of tensors, written atomically. Importing this does not import torch."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.storage.files import replacing, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


def save_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: Mapping[str, str]) -> None:
    """Write a safetensors file; an existing one is replaced. Raises DiskFull."""
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        save_file(dict(tensors), temporary, dict(metadata))


def load_or_compute(path: Path, compute: "Callable[[], Mapping[str, Tensor]]") -> "Mapping[str, Tensor]":
    """Return the tensors of a file; if it is missing or damaged, compute them and write it first."""
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    try:
        stored: dict[str, Tensor] = load(path.read_bytes())
        return stored
    except FileNotFoundError:
        pass
    except SafetensorError as error:
        logger.warning("%s is damaged (%s): computing it again", path, error)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
    write_atomic(path, save(tensors))
    return tensors
