"""Trimming and merging of values by their signs, as TIES does it over a whole model (Yadav et al., 2306.01708).

PEFT's `ties` trims each matrix by itself; here one threshold applies to all matrices of an adapter, which are read
twice instead of being held together.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from peft.utils.merge_utils import calculate_majority_sign_mask, disjoint_merge
from torch import Tensor

FINE_BITS = 15
"""of the 31 bits of a float32 magnitude that the second histogram counts"""
COARSE, FINE = 1 << 31 - FINE_BITS, 1 << FINE_BITS


def smallest_kept(read: Callable[[], Iterable[Tensor]], density: float) -> float:
    """Return the magnitude of the ⌊density · n⌋-th largest of the n values of all tensors, exactly.

    read: returns the tensors; called twice. The bits of a magnitude, as an integer, have the order of the magnitudes,
    so two histograms find the value.
    """
    counts = sum(torch.bincount(_bits(tensor) >> FINE_BITS, minlength=COARSE).cpu() for tensor in read())
    assert isinstance(counts, Tensor)
    coarse, rest = _find(counts, max(1, int(density * int(counts.sum()))))
    fine = torch.zeros(FINE, dtype=torch.int64)
    for tensor in read():
        bits = _bits(tensor)
        fine += torch.bincount(bits[bits >> FINE_BITS == coarse] & FINE - 1, minlength=FINE).cpu()
    bits_of_value = coarse << FINE_BITS | _find(fine, rest)[0]
    return float(torch.tensor(bits_of_value, dtype=torch.int32).view(torch.float32))


def merge_trimmed(values: Sequence[Tensor], thresholds: Sequence[float]) -> Tensor:
    """Return the disjoint mean of values of one shape, of which magnitudes below the threshold of each count as 0.

    Per entry, the sign with the larger sum of magnitudes is elected, and the values that have it are averaged.
    """
    trimmed = torch.stack(
        [value * (value.abs() >= threshold) for value, threshold in zip(values, thresholds, strict=True)]
    )
    merged: Tensor = disjoint_merge(trimmed, calculate_majority_sign_mask(trimmed))
    return merged


def _bits(tensor: Tensor) -> Tensor:
    """Return the magnitudes' bits (n,) as integers."""
    return tensor.float().abs().flatten().view(torch.int32)


def _find(counts: Tensor, rank: int) -> tuple[int, int]:
    """Return the bucket of the rank-th largest value, and the value's rank within it; ranks are counted from 1."""
    from_top = counts.flip(0).cumsum(0)
    position = int(torch.searchsorted(from_top, rank))
    above = int(from_top[position - 1]) if position else 0
    return len(counts) - 1 - position, rank - above
