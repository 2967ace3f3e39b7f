"""Compact storage of an encoder: in half precision, and the weights of the regression as a product of two factors.

The weights (D, d) of a regression on N training adapters have a rank below N, because they are combinations of these
adapters' sketches; the factors of that rank follow from the eigenvectors of their Gram matrix (d, d).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from autolora.encoder.model import Encoder
from autolora.errors import MismatchError

WEIGHTS, LEFT, RIGHT = "weights", "weights.left", "weights.right"
"""names of the weights (D, d) and of their factors (D, r) and (r, d)"""
ROWS_AT_ONCE = 1 << 16
"""rows of the weights that are in memory in float64"""
MIN_EIGENVALUE = 1e-10
"""eigenvalues of the Gram matrix below this share of the largest are rounding errors of float32"""


def to_compact(encoder: Encoder) -> dict[str, Tensor]:
    """Return an encoder's tensors for storage. Raises MismatchError if a value is too large for float16."""
    tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if WEIGHTS in tensors:
        tensors[LEFT], tensors[RIGHT] = factorize(tensors.pop(WEIGHTS))
    stored = {
        name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in tensors.items()
    }
    if too_large := [name for name, tensor in stored.items() if tensor.isinf().any()]:
        raise MismatchError(
            f"the encoder cannot be published in half precision: values of its tensor {too_large[0]} are too large; "
            "train it again"
        )
    return stored


def to_whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a stored encoder, compact or not, in float32 and with the weights whole."""
    state = {
        name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()
    }
    if LEFT in state:
        state[WEIGHTS] = state.pop(LEFT) @ state.pop(RIGHT)
    return state


def factorize(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors (D, r) and (r, d) of weights (D, d) of rank r; the largest absolute value of each column of the
    first one is 1.
    """
    gram = torch.zeros(weights.shape[1], weights.shape[1], dtype=torch.float64)
    for rows in _blocks(weights):
        gram += rows.double().T @ rows.double()
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    basis = eigenvectors[:, eigenvalues > MIN_EIGENVALUE * eigenvalues.max()].flip(1)
    left = torch.cat([(rows.double() @ basis).float() for rows in _blocks(weights)])
    largest = left.abs().amax(0)
    return left / largest, (basis * largest).T.float().contiguous()


def _blocks(weights: Tensor) -> list[Tensor]:
    return [weights[start : start + ROWS_AT_ONCE] for start in range(0, len(weights), ROWS_AT_ONCE)]
