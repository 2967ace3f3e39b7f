"""Tests that the presets of studies/released equal the authors' code, and a second derivation of its formulas.

The .safetensors and .npz files hold inputs and outputs of the released code. A test runs over every file of its kind
(`retriever_*`, `fusion_*`, `contrastive*`, `global_lora*`, `convert_*`) and takes sizes, ranks, variants and counts
from its keys, so a file is added without changing a test.
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent


def cases(pattern: str) -> list[Path]:
    """Return the reference files whose names match a pattern."""
    return sorted(FOLDER.glob(pattern))


def rnd(name: str, shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0) -> Tensor:
    """Return a random tensor in float64, seeded by its name with numpy's legacy generator, whose stream is frozen."""
    state = np.random.RandomState(zlib.crc32(f"parity/{name}".encode()))
    values = state.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    return torch.from_numpy(values.astype(np.float64) * scale + shift)
