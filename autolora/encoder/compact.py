"""Compact storage of an encoder: float16, and the weights of the regression as a product of two factors.

The weights (D, d) of a regression on N training adapters have a rank below N, because they are combinations of these
adapters' sketches; their best approximation of a lower rank follows from the eigenvectors of their Gram matrix (d, d).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from autolora.encoder.model import Encoder
from autolora.encoder.ridge import RidgeEncoder
from autolora.errors import MismatchError

LEFT, RIGHT = "weights.left", "weights.right"
"""names of the factors (D, r) and (r, d) of the tensor `weights`"""
ROWS_AT_ONCE = 1 << 16
"""rows of the weights that are in memory in float64"""


def to_tensors(encoder: Encoder, dtype: torch.dtype, rank: int | None) -> dict[str, Tensor]:
    """Return an encoder's tensors for storage: those in float32 in this precision, the regression's weights as factors.

    rank: of the factors; None stores the weights whole.
    Raises MismatchError if the encoder is not a regression but a rank is given, or a value is too large for the
    precision.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
    if rank is not None:
        if not isinstance(encoder, RidgeEncoder):
            raise MismatchError(
                "the rank is that of a ridge regression's weights, but this encoder is a transformer: leave out --rank"
            )
        tensors[LEFT], tensors[RIGHT] = factorize(tensors.pop("weights"), rank)
    stored = {
        name: tensor.to(dtype) if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
    for name, tensor in stored.items():
        if tensor.isinf().any():
            raise MismatchError(
                f"the tensor {name} has values that are too large for {dtype}: use --dtype float32"
            )
    return stored


def from_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an encoder that `to_tensors` has stored, in float32, with the weights whole."""
    state = {
        name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()
    }
    if LEFT in state:
        state["weights"] = state.pop(LEFT) @ state.pop(RIGHT)
    return state


def factorize(weights: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the factors (D, r) and (r, d) of the best approximation of weights (D, d) of this rank, or of their own
    if that is lower. The columns of the first factor have a largest absolute value of 1, so that float16 holds them.
    """
    gram = torch.zeros(weights.shape[1], weights.shape[1], dtype=torch.float64)
    for rows in _blocks(weights):
        gram += rows.double().T @ rows.double()
    basis = torch.linalg.eigh(gram).eigenvectors.flip(1)[:, :rank]
    left = torch.cat([(rows.double() @ basis).float() for rows in _blocks(weights)])
    largest = left.abs().amax(0).clamp_min(torch.finfo(torch.float32).tiny)
    return left / largest, (basis.T * largest.double()[:, None]).float()


def weights_error(encoder: Encoder, stored: Mapping[str, Tensor]) -> float:
    """Return the largest ‖stored - trained‖ / ‖trained‖ of a tensor that `to_tensors` has stored."""
    restored, errors = from_tensors(stored), [0.0]
    for name, tensor in encoder.state_dict().items():
        if tensor.dtype == torch.float32 and tensor.any():
            errors.append(float((restored[name] - tensor.cpu()).norm() / tensor.norm()))
    return max(errors)


def _blocks(weights: Tensor) -> list[Tensor]:
    return [weights[start : start + ROWS_AT_ONCE] for start in range(0, len(weights), ROWS_AT_ONCE)]
