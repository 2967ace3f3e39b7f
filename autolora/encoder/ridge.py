"""The encoder as a ridge regression in closed form, from an adapter's sketch to the mean of its captions' vectors.

Every slot's sketch is divided by its norm, so that an adapter's inner product with another one is the mean cosine of
their updates over the slots, and neither strength nor rank counts. The regression works on inner products with the
training adapters, or with a random part of them if there are many (Nyström, Williams and Seeger 2001).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from autolora.encoder.calibration import unfitted_relevance
from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, Stacks
from autolora.encoder.text_map import TextMap

MIN_NORM = 1e-30
"""smaller norms of a sketch are divided by this instead"""
ADAPTERS_AT_ONCE = 64
"""adapters that are compared with the landmarks in one product: the landmarks are read from memory once for all"""
MIN_EIGENVALUE = 1e-9
"""eigenvalues of the landmarks' inner products below this share of the largest are dropped"""


class RidgeEncoder(nn.Module):
    """(x - mean) · weights, with x the slots' sketches of unit norm (D = S·m·p numbers)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.text_map = TextMap(config.width)
        self.register_buffer("relevance", unfitted_relevance())
        self.relevance: Tensor
        """(2, 3), the coefficients of autolora.matching.relevance"""
        size = config.sketch_size
        assert size is not None, "the ridge regression reads sketches"
        length = len(config.slots) * size**2
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("weights", torch.zeros(length, config.width))
        self.register_buffer("mean_target", torch.zeros(config.width))
        self.register_buffer("agreement_margin", torch.tensor(0.0))
        self.mean: Tensor
        self.weights: Tensor
        self.mean_target: Tensor
        self.agreement_margin: Tensor
        """mean_target (d,), which predictions are relative to, and agreement_margin are those of a `CaptionRule`"""

    def embed(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the unit vectors (B, d) that prompts are compared with.

        values, present: of an `AdapterBatch` of sketches.
        """
        return functional.normalize(self.predict(values, present), dim=-1)

    def predict(self, values: Tensor | Stacks, present: Tensor) -> Tensor:
        """Return the predictions (B, d), relative to the training adapters' mean target: the less an adapter resembles
        these adapters, the shorter. values, present: as of `embed`.
        """
        return (slot_units(values) - self.mean) @ self.weights


def slot_units(values: Tensor | Stacks) -> Tensor:
    """Return sketches (B, S, m, p) as unit vectors (B, S·m·p) in which all present slots have the same norm."""
    assert isinstance(values, Tensor), "the ridge regression reads sketches"
    slots = values.flatten(2)
    slots = slots / slots.norm(dim=2, keepdim=True).clamp_min(MIN_NORM)
    return functional.normalize(slots.flatten(1), dim=-1)


def fit_ridge(
    encoder: RidgeEncoder,
    adapters: Sequence[str],
    families: Sequence[str],
    targets: Tensor,
    read: Callable[[str], AdapterBatch],
    seed: int,
) -> Tensor:
    """Set mean, weights and mean target of the encoder from adapters (N,), their families (N,) and unit targets (N, d).

    Returns the predictions (N, d) for the adapters by regressions without their own family.

    Each sketch is read once, those of the landmarks twice. Memory: the landmarks' sketches and the weights.
    """
    variant, device = encoder.config.variant, encoder.mean.device

    def units(part: Sequence[str]) -> Tensor:
        return torch.cat([slot_units(read(sha256).to(device).values) for sha256 in part])

    order = torch.randperm(len(adapters), generator=torch.Generator().manual_seed(seed))
    chosen = [adapters[row] for row in sorted(order[: variant.landmarks].tolist())]
    landmarks = torch.empty(len(chosen), len(encoder.mean), device=device)
    for start in range(0, len(chosen), ADAPTERS_AT_ONCE):
        part = slice(start, start + ADAPTERS_AT_ONCE)
        landmarks[part] = units(chosen[part])
    center, total = landmarks.mean(0), torch.zeros_like(encoder.mean)
    landmarks -= center
    products = []
    for start in range(0, len(adapters), ADAPTERS_AT_ONCE):
        rows = units(adapters[start : start + ADAPTERS_AT_ONCE])
        total += rows.sum(0)
        products.append((rows - center) @ landmarks.T)
    root = _inverse_root((landmarks @ landmarks.T).double())
    features = torch.cat(products).double() @ root
    features, centered = features - features.mean(0), targets.double() - targets.double().mean(0)
    gram = features.T @ features
    gram += variant.ridge * torch.eye(len(gram), dtype=gram.dtype, device=device)
    factor = torch.linalg.cholesky(gram)
    solved = torch.cholesky_solve(features.T @ centered, factor)
    encoder.mean.copy_(total / len(adapters))
    encoder.mean_target.copy_(targets.mean(0))
    torch.mm(landmarks.T, (root @ solved).float(), out=encoder.weights)
    return _out_of_fold(features, factor, targets.double(), families).float()


def _inverse_root(matrix: Tensor) -> Tensor:
    """Return R (M, R) with R·Rᵀ the pseudo-inverse of a symmetric positive semidefinite matrix (M, M)."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > MIN_EIGENVALUE * values.max()
    scaled: Tensor = vectors[:, kept] * values[kept].rsqrt()
    return scaled


def _out_of_fold(features: Tensor, factor: Tensor, targets: Tensor, families: Sequence[str]) -> Tensor:
    """Return the predictions (N, d) of regressions without each adapter's family, relative to these' mean target.

    features F (N, R): centered. factor L (R, R): of L·Lᵀ = Fᵀ·F + lambda. A ridge regression with an intercept is
    y → H·y with H = 1/N + W·Wᵀ and W = F·L⁻ᵀ, so a regression without the rows G predicts
    y_G - (I - H_GG)⁻¹·(y - H·y)_G for them, exactly.
    """
    count = len(targets)
    whitened = torch.linalg.solve_triangular(factor, features.T, upper=False).T
    residuals = targets - targets.mean(0) - whitened @ (whitened.T @ targets)
    result = torch.empty_like(targets)
    members: dict[str, list[int]] = {}
    for row, family in enumerate(families):
        members.setdefault(family, []).append(row)
    for rows in members.values():
        hat = 1 / count + whitened[rows] @ whitened[rows].T
        left_out = torch.eye(len(rows), dtype=hat.dtype, device=hat.device) - hat
        mean = (targets.sum(0) - targets[rows].sum(0)) / max(count - len(rows), 1)
        result[rows] = targets[rows] - torch.linalg.solve(left_out, residuals[rows]) - mean
    return result
