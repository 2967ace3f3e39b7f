"""Compact storage of an encoder: smaller numbers, and the weights of the regression as a product of two factors.

The weights (D, d) of a regression on N training adapters have a rank below N, because they are combinations of these
adapters' sketches; their best approximation of a lower rank follows from the eigenvectors of their Gram matrix (d, d).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from autolora.encoder.model import Encoder
from autolora.encoder.ridge import RidgeEncoder
from autolora.errors import MismatchError
from autolora.pretrained.config import DType

LEFT, RIGHT = "weights.left", "weights.right"
"""names of the factors (D, r) and (r, d) of the tensor `weights`"""
ROWS_AT_ONCE = 1 << 16
"""rows of the weights that are in memory in float64"""
MIN_EIGENVALUE = 1e-10
"""eigenvalues of the Gram matrix below this share of the largest are rounding errors of float32"""
LARGEST_INTEGER = 127


def to_tensors(encoder: Encoder, dtype: DType, rank: int | None) -> dict[str, Tensor]:
    """Return an encoder's tensors for storage.

    dtype: of the tensors in float32; with int8, the larger factor has integers and all else float16. rank: of the
    factors of the regression's weights; None stores the weights whole.
    Raises MismatchError if the encoder is not a regression but a rank is given, int8 is given without a rank, or a
    value is too large for float16.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if rank is not None:
        if not isinstance(encoder, RidgeEncoder):
            raise MismatchError(
                "a rank applies to the weights of a ridge regression, but this encoder is a transformer: leave it out"
            )
        tensors[LEFT], tensors[RIGHT] = factorize(tensors.pop("weights"), rank)
    if dtype == "int8":
        if rank is None:
            raise MismatchError("int8 stores factors, so it needs their rank: give one, or use float16")
        tensors[LEFT] = (tensors[LEFT] * LARGEST_INTEGER).round().to(torch.int8)
        tensors[RIGHT] /= LARGEST_INTEGER
    precision = torch.float32 if dtype == "float32" else torch.float16
    stored = {
        name: tensor.to(precision) if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    if too_large := [name for name, tensor in stored.items() if tensor.isinf().any()]:
        raise MismatchError(f"tensor {too_large[0]} has values that are too large for float16: use float32")
    return stored


def from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an encoder that `to_tensors` has stored, in float32, with the weights whole."""
    compact = (torch.float16, torch.int8)
    state = {name: tensor.float() if tensor.dtype in compact else tensor for name, tensor in tensors.items()}
    if LEFT in state:
        state["weights"] = state.pop(LEFT) @ state.pop(RIGHT)
    return state


def factorize(weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the factors (D, r) and (r, d) of the best approximation of weights (D, d) of this rank, or of their own
    rank if that is lower. The largest absolute value of each column of the first factor is 1.
    """
    gram = torch.zeros(weights.shape[1], weights.shape[1], dtype=torch.float64)
    for rows in _blocks(weights):
        gram += rows.double().T @ rows.double()
    eigenvalues, eigenvectors = torch.linalg.eigh(gram)
    kept = eigenvalues > MIN_EIGENVALUE * eigenvalues.max()
    basis = eigenvectors[:, kept].flip(1)[:, :rank]
    left = torch.cat([(rows.double() @ basis).float() for rows in _blocks(weights)])
    largest = left.abs().amax(0)
    return left / largest, (basis * largest).T.float().contiguous()


def weights_error(encoder: Encoder, stored: Mapping[str, Tensor]) -> float:
    """Return the largest ‖stored - trained‖ / ‖trained‖ of a tensor that `to_tensors` has stored."""
    restored, errors = from_tensors(stored), [0.0]
    for name, tensor in encoder.state_dict().items():
        if tensor.dtype == torch.float32 and tensor.any():
            errors.append(float((restored[name] - tensor.cpu()).norm() / tensor.norm()))
    return max(errors)


def _blocks(weights: Tensor) -> list[Tensor]:
    return [weights[start : start + ROWS_AT_ONCE] for start in range(0, len(weights), ROWS_AT_ONCE)]
