"""A ridge regression with an intercept, and its predictions without a family, which follow from the fit to all rows.

It minimizes |F·B - (Y - mean of Y)|² + lambda·|B|², with F the centered features of the adapters and Y their targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Regression:
    """The rows of the adapters, in float64."""

    features: Tensor
    """F (N, R), centered"""
    targets: Tensor
    """Y (N, d)"""
    families: Sequence[str]
    ridge: float
    """lambda"""

    @cached_property
    def centered(self) -> Tensor:
        """The targets relative to their mean (N, d)."""
        return self.targets - self.targets.mean(0)

    @cached_property
    def members(self) -> dict[str, list[int]]:
        """Family -> the numbers of its adapters."""
        members: dict[str, list[int]] = {}
        for row, family in enumerate(self.families):
            members.setdefault(family, []).append(row)
        return members

    @cached_property
    def factor(self) -> Tensor:
        """The Cholesky factor L (R, R) of FᵀF + lambda."""
        gram = self.features.T @ self.features
        gram += self.ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor: Tensor = torch.linalg.cholesky(gram)
        return factor

    def solve(self) -> Tensor:
        """Return B (R, d)."""
        return torch.cholesky_solve(self.features.T @ self.centered, self.factor)

    def out_of_fold(self) -> Tensor:
        """Return the predictions (N, d) of regressions without each adapter's family, relative to these' mean target.

        The regression is Y → H·Y with H = 1/N + W·Wᵀ and W = F·L⁻ᵀ. So a regression without the rows G predicts
        Y_G - (I - H_GG)⁻¹·(Y - H·Y)_G for them, exactly.
        """
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, self.features.T, upper=False).T
        fitted = whitened @ (whitened.T @ self.targets)
        residuals = torch.sub(self.centered, fitted, out=fitted)
        count, result, total = len(self.targets), torch.empty_like(self.targets), self.targets.sum(0)
        for own in self.members.values():
            part = whitened[own]
            hat = part @ part.T + 1 / count
            left_out = torch.eye(len(own), dtype=hat.dtype, device=hat.device) - hat
            errors = torch.linalg.solve(left_out, residuals[own])
            mean = (total - self.targets[own].sum(0)) / max(count - len(own), 1)
            result[own] = self.targets[own] - errors - mean
        return result
