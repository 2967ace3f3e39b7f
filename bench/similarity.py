"""Similarity of adapters: by sketches in several shapes at once, and exactly, from their factors."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolora.lora.factors import Factors
from autolora.lora.sketch import signs
from autolora.lora.slots import Slot

Matrix = NDArray[np.float64]
Shape = tuple[int, int]
"""m, p: rows and columns of one slot's sketch"""
GRAM_BLOCKS = 4
"""row blocks of a Gram matrix; with blocks, little more than its lower half is computed"""


def sketch_shapes(
    loras: Sequence[Mapping[str, Factors]], slots: Sequence[Slot], shapes: Sequence[Shape]
) -> dict[Shape, Tensor]:
    """Return sketches (L, S, m, p) of LoRAs in all shapes; S·up and down·Q are computed once per m and p.

    For m = p the sketches equal those of autolora.lora.sketch; otherwise its S has size m and its Q has size p.
    """
    sketches = {shape: torch.zeros(len(loras), len(slots), *shape) for shape in shapes}
    rows, columns = ({shape[side] for shape in shapes} for side in (0, 1))
    for index, slot in enumerate(slots):
        updates = [(number, lora[slot.name]) for number, lora in enumerate(loras) if slot.name in lora]
        if not updates:
            continue
        up = torch.cat([factors.up.float().T for _, factors in updates])
        down = torch.cat([factors.down.float() for _, factors in updates])
        left = {m: up @ signs(f"S|{slot.name}", slot.d_out, m) for m in rows}
        right = {p: down @ signs(f"Q|{slot.fused}", slot.d_in, p) for p in columns}
        edges = np.cumsum([0, *(factors.rank for _, factors in updates)])
        for (number, factors), (low, high) in zip(updates, pairwise(edges), strict=True):
            for (m, p), values in sketches.items():
                product = left[m][low:high].T @ right[p][low:high]
                values[number, index] = product * (factors.scale / math.sqrt(m * p))
    return sketches


class SketchFile:
    """Sketches of one shape on disk, as in the pool: half precision, relative to the largest entry of each slot."""

    def __init__(self, folder: Path, shape: Shape, adapters: int, slots: int) -> None:
        name = f"{shape[0]}x{shape[1]}"
        self.values = open_array(folder / f"{name}.npy", (adapters, slots, shape[0] * shape[1]), np.float16)
        self.scales = open_array(folder / f"{name}.scale.npy", (adapters, slots), np.float32)

    def put(self, adapter: int, sketch: Tensor) -> None:
        """Write the sketch (S, m, p) of an adapter."""
        values, scale = to_half(sketch)
        self.values[adapter] = values.flatten(1).numpy()
        self.scales[adapter] = scale.numpy()

    def get(self, adapters: Sequence[int], slots: slice = slice(None)) -> NDArray[np.float32]:
        """Return sketches (N, S, m·p)."""
        rows = np.asarray(adapters)
        values: NDArray[np.float32] = self.values[rows, slots].astype(np.float32)
        values *= self.scales[rows, slots][..., None]
        return values


def to_half(sketch: Tensor) -> tuple[Tensor, Tensor]:
    """Return a sketch's values (…, S, m, p) in half precision, and the scale (…, S) of each slot."""
    scale = sketch.abs().amax(dim=(-2, -1))
    return (sketch / torch.where(scale > 0, scale, 1)[..., None, None]).half(), scale


def open_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    """Return an array on disk; a new file contains zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+")
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def compare_sketches(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[Matrix, Matrix]:
    """Return inner products of sketches (A, S, n) and (B, S, n), and mean cosines of their slots, both (A, B).

    The mean is over the slots that both adapters update, with equal weights.
    """
    inner, cosines, shared = (np.zeros((len(a), len(b))) for _ in range(3))
    for slot in range(a.shape[1]):
        x, y = a[:, slot].astype(np.float64), b[:, slot].astype(np.float64)
        add_slot(inner, cosines, shared, x @ y.T, np.square(x).sum(1), np.square(y).sum(1))
    return inner, cosines / np.maximum(shared, 1)


def add_slot(inner: Matrix, cosines: Matrix, shared: Matrix, gram: Matrix, x: Matrix, y: Matrix) -> None:
    """Add one slot to the sums (A, B) of inner products, of cosines and of the number of shared slots, in place.

    gram: inner products (A, B) of the slot's updates; x (A,), y (B,): their squared norms.
    """
    norms = np.sqrt(np.outer(x, y))
    inner += gram
    cosines += np.divide(gram, norms, out=np.zeros_like(gram), where=norms > 0)
    shared += norms > 0


def gram_of_factors(factors: Sequence[Factors]) -> Matrix:
    """Return ⟨ΔW_a, ΔW_b⟩ (N, N) of one slot's updates as Σ (up_aᵀup_b) ∘ (down_a·down_bᵀ), without forming ΔW."""
    downs = torch.cat([f.down.float() for f in factors])
    ups = torch.cat([f.scale * f.up.float().T for f in factors])
    ranks = torch.tensor([f.rank for f in factors])
    owners = torch.arange(len(factors)).repeat_interleave(ranks)
    starts = [0, *ranks.cumsum(0).tolist()]
    gram = np.zeros((len(factors), len(factors)))
    edges = sorted({round(part * len(factors) / GRAM_BLOCKS) for part in range(GRAM_BLOCKS + 1)})
    for low, high in pairwise(edges):
        rows, columns = slice(starts[low], starts[high]), slice(0, starts[high])
        product = (downs[rows] @ downs[columns].T).mul_(ups[rows] @ ups[columns].T)
        by_row = torch.zeros(high - low, starts[high]).index_add_(0, owners[rows] - low, product)
        gram[low:high, :high] = np.add.reduceat(by_row.double().numpy(), starts[:high], axis=1)
    lower = np.tril(gram)
    return lower + np.tril(lower, -1).T


def inner_product(a: Mapping[str, Factors], b: Mapping[str, Factors]) -> float:
    """Return ⟨ΔW_a, ΔW_b⟩ over all slots, in double precision."""
    total = 0.0
    for name in set(a) & set(b):
        first, second = a[name], b[name]
        up_gram = first.up.double().T @ second.up.double()
        down_gram = first.down.double() @ second.down.double().T
        total += first.scale * second.scale * float((up_gram * down_gram).sum())
    return total


def normalize(inner: Matrix) -> Matrix:
    """Return the cosines (N, N) of a Gram matrix."""
    norms = np.sqrt(inner.diagonal())
    cosines: Matrix = inner / np.outer(norms, norms)
    return cosines


def nearest_neighbors(cosines: Matrix) -> NDArray[np.int64]:
    """Return the index of the nearest other adapter for each adapter (N,)."""
    others = cosines.copy()
    np.fill_diagonal(others, -np.inf)
    nearest: NDArray[np.int64] = others.argmax(axis=1)
    return nearest


def clopper_pearson(successes: int, trials: int) -> tuple[float, float]:
    """Return the exact (Clopper-Pearson) two-sided 95 % interval of a rate."""
    low = (
        0.0 if successes == 0 else _bisect(lambda rate: 1 - _binomial_cdf(successes - 1, trials, rate), 0.025)
    )
    high = (
        1.0 if successes == trials else _bisect(lambda rate: -_binomial_cdf(successes, trials, rate), -0.025)
    )
    return low, high


def _bisect(increasing: Callable[[float], float], target: float) -> float:
    """Return the rate in [0, 1] at which an increasing function reaches the target."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < target else (low, middle)
    return (low + high) / 2


def _binomial_cdf(successes: int, trials: int, rate: float) -> float:
    """Return the probability of at most `successes` successes."""
    if rate <= 0 or rate >= 1:
        return float(rate <= 0)
    counts = range(successes + 1)
    logs = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * math.log(rate) + (trials - k) * math.log1p(-rate)
        for k in counts
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))
