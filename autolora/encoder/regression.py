"""A ridge regression on two blocks of rows: adapters, with an intercept, and concepts, with a weight and without one.

It minimizes |F·B - (Y - mean of Y)|² + w·|Z·B - T|² + lambda·|B|², with F the adapters' centered features, Y their
targets, Z the concepts' features and T their targets. Predictions without a family, and so the choice of w, follow from
the fit to all rows in closed form.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

CONCEPT_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""values of w among which cross-validation chooses"""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The regression with one weight of the concepts."""

    weight: float
    solution: Tensor
    """B (R, d)"""
    out_of_fold: Tensor
    """(N, d), as of `JointRegression.out_of_fold`"""


@dataclass(frozen=True, eq=False)
class JointRegression:
    """The rows of both blocks, in float64."""

    features: Tensor
    """F (N, R), centered"""
    targets: Tensor
    """Y (N, d)"""
    families: Sequence[str]
    concept_features: Tensor
    """Z (C, R)"""
    concept_targets: Tensor
    """T (C, d)"""
    concept_families: Sequence[frozenset[str]]
    """per concept: the families that its images show; it is left out with each of them"""
    ridge: float
    """lambda"""

    @cached_property
    def centered(self) -> Tensor:
        """The targets relative to their mean (N, d)."""
        return self.targets - self.targets.mean(0)

    @cached_property
    def grams(self) -> tuple[Tensor, Tensor]:
        """FᵀF and ZᵀZ (R, R)."""
        return self.features.T @ self.features, self.concept_features.T @ self.concept_features

    @cached_property
    def members(self) -> dict[str, list[int]]:
        """Family -> its rows of the stacked blocks, adapters first."""
        members: dict[str, list[int]] = {}
        for row, family in enumerate(self.families):
            members.setdefault(family, []).append(row)
        for row, families in enumerate(self.concept_families, len(self.families)):
            for family in families & members.keys():
                members[family].append(row)
        return members

    def choose_weight(self) -> Solution:
        """Return the regression whose predictions out of fold have the largest mean cosine with the targets."""
        weights = CONCEPT_WEIGHTS if self.concept_families else (0.0,)
        solutions = [self.solve(weight) for weight in weights]
        return max(solutions, key=self._mean_cosine)

    def solve(self, weight: float) -> Solution:
        """Return the regression with one weight of the concepts."""
        of_adapters, of_concepts = self.grams
        gram = of_adapters + weight * of_concepts
        gram += self.ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor = torch.linalg.cholesky(gram)
        right = self.features.T @ self.centered + weight * (self.concept_features.T @ self.concept_targets)
        return Solution(weight, torch.cholesky_solve(right, factor), self.out_of_fold(weight, factor))

    def out_of_fold(self, weight: float, factor: Tensor) -> Tensor:
        """Return the predictions (N, d) of regressions without each adapter's family, relative to these' mean target.

        factor L (R, R): of L·Lᵀ = FᵀF + w·ZᵀZ + lambda. With both blocks stacked, X = (F, √w·Z) and y = (Y, √w·T), the
        regression is y → H·y with H = J/N + W·Wᵀ and W = X·L⁻ᵀ, where J is 1 for pairs of adapters and 0 elsewhere. So
        a regression without the rows G predicts y_G - (I - H_GG)⁻¹·(y - H·y)_G for them, exactly.
        """
        count, concept_scale = len(self.targets), weight**0.5
        rows = torch.cat([self.features, concept_scale * self.concept_features])
        targets = torch.cat([self.targets, concept_scale * self.concept_targets])
        intercept = torch.cat([rows.new_ones(count), rows.new_zeros(len(rows) - count)])
        whitened = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
        fitted = torch.outer(intercept, self.targets.mean(0))
        residuals = targets - fitted - whitened @ (whitened.T @ targets)
        result = torch.empty_like(self.targets)
        for part in self.members.values():
            own = [row for row in part if row < count]
            hat = torch.outer(intercept[part], intercept[part]) / count + whitened[part] @ whitened[part].T
            left_out = torch.eye(len(part), dtype=hat.dtype, device=hat.device) - hat
            correction = torch.linalg.solve(left_out, residuals[part])[: len(own)]
            mean = (self.targets.sum(0) - self.targets[own].sum(0)) / max(count - len(own), 1)
            result[own] = self.targets[own] - correction - mean
        return result

    def _mean_cosine(self, solution: Solution) -> float:
        return float(functional.cosine_similarity(solution.out_of_fold, self.centered, dim=-1).mean())
