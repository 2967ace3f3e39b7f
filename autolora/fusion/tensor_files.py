"""Computed tensors that are kept in files, so that they are computed once."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autolora.storage.files import write_atomic

logger = logging.getLogger(__name__)


def load_or_compute(path: Path, compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """Return the tensors of a file; if it is missing or damaged, compute them and write it first."""
    try:
        stored: dict[str, Tensor] = load_tensors(path.read_bytes())
        return stored
    except FileNotFoundError:
        pass
    except SafetensorError as error:
        logger.warning("%s is damaged (%s): computing it again", path, error)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in compute().items()}
    write_atomic(path, save_tensors(tensors))
    return tensors
