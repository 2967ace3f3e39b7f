"""Equal to the authors' released code, and to a second derivation of its formulas.

The .safetensors and .npz files hold inputs and outputs of the released code, as numbers only. A test runs over
every file of its kind that lies here (`retriever_*`, `fusion_*`, `contrastive*`, `global_lora*`, `convert_*`) and
reads sizes, ranks, variants and counts off its keys: another case is another file.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def cases(pattern: str) -> list[Path]:
    """Return the files of one kind."""
    return sorted(FOLDER.glob(pattern))


def rnd(name: str, shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Return the tensor that a name stands for, float64: numpy's legacy generator, whose stream never changes."""
    state = np.random.RandomState(zlib.crc32(f"parity/{name}".encode()))
    drawn = state.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    return torch.from_numpy(drawn.astype(np.float64) * scale + shift)
