"""A ridge regression on two blocks of rows, adapters and concepts, each with an intercept of its own.

It minimizes |F·B - (Y - mean of Y)|² + w·|Z·B - (T - mean of T)|² + lambda·|B|², with F the centered features of the
adapters, Y their targets, Z the centered features of the concepts, T their targets and w the concepts' weight.
Predictions without a family, and so the choice of w, follow from the fit to all rows in closed form.

Without an intercept of the concepts, predictions out of fold would be too good: a concept's row and target are relative
to the mean over all images, and what this mean takes from the left-out family is in all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

CONCEPT_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""values of w among which cross-validation chooses"""


@dataclass(frozen=True, eq=False)
class JointRegression:
    """The rows of both blocks, in float64."""

    features: Tensor
    """F (N, R), centered"""
    targets: Tensor
    """Y (N, d)"""
    families: Sequence[str]
    concept_features: Tensor
    """Z (C, R), centered"""
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
    def centered_concepts(self) -> Tensor:
        """The concepts' targets relative to their mean (C, d)."""
        return self.concept_targets - self.concept_targets.mean(0)

    @cached_property
    def grams(self) -> tuple[Tensor, Tensor]:
        """FᵀF and ZᵀZ (R, R)."""
        return self.features.T @ self.features, self.concept_features.T @ self.concept_features

    @cached_property
    def members(self) -> dict[str, tuple[list[int], list[int]]]:
        """Family -> the numbers of its adapters, and of the concepts that show it."""
        members: dict[str, tuple[list[int], list[int]]] = {}
        for row, family in enumerate(self.families):
            members.setdefault(family, ([], []))[0].append(row)
        for row, families in enumerate(self.concept_families):
            for family in families & members.keys():
                members[family][1].append(row)
        return members

    def choose_weight(self) -> float:
        """Return the weight of the concepts with the largest mean cosine out of fold; 0 without concepts.

        It is chosen on the predictions that calibrate the encoder. A weight per family, chosen without that family,
        costs the square of the number of families; on the playground the mean cosine is at most .003 lower with it.
        """
        return max(CONCEPT_WEIGHTS, key=self.mean_cosine) if self.concept_families else 0.0

    def mean_cosine(self, weight: float) -> float:
        """Return the mean cosine of the predictions out of fold with the centered targets."""
        return float(functional.cosine_similarity(self.out_of_fold(weight), self.centered, dim=-1).mean())

    def solve(self, weight: float) -> Tensor:
        """Return B (R, d) for a weight of the concepts."""
        right = self.features.T @ self.centered + weight * (self.concept_features.T @ self.centered_concepts)
        return torch.cholesky_solve(right, self._factor(weight))

    def _factor(self, weight: float) -> Tensor:
        """Return the Cholesky factor L (R, R) of FᵀF + w·ZᵀZ + lambda."""
        of_adapters, of_concepts = self.grams
        gram = of_adapters + weight * of_concepts
        gram += self.ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor: Tensor = torch.linalg.cholesky(gram)
        return factor

    def out_of_fold(self, weight: float) -> Tensor:
        """Return the predictions (N, d) of regressions without each adapter's family, relative to these' mean target.

        With both blocks stacked, X = (F, √w·Z) and y = (Y, √w·T), the regression is y → H·y with H = J + W·Wᵀ and
        W = X·L⁻ᵀ, L·Lᵀ = XᵀX + lambda, where J is 1/N for pairs of adapters, 1/C for pairs of concepts and 0 elsewhere.
        So a regression without the rows G predicts y_G - (I - H_GG)⁻¹·(y - H·y)_G for them, exactly. The blocks are not
        stacked, to save memory.
        """
        factor, scale = self._factor(weight), weight**0.5
        whitened, whitened_concepts = (
            _whiten(self.features, factor),
            _whiten(scale * self.concept_features, factor),
        )
        concept_targets = scale * self.centered_concepts
        coefficients = whitened.T @ self.targets + whitened_concepts.T @ concept_targets
        residuals = _subtract(self.centered, whitened @ coefficients)
        concept_residuals = _subtract(concept_targets, whitened_concepts @ coefficients)
        count, concept_count = len(self.targets), len(self.concept_targets)
        result, total = torch.empty_like(self.targets), self.targets.sum(0)
        for own, shown in self.members.values():
            part = torch.cat([whitened[own], whitened_concepts[shown]])
            hat = part @ part.T
            hat[: len(own), : len(own)] += 1 / count
            if len(shown) < concept_count:  # otherwise no concept remains, and no intercept of theirs
                hat[len(own) :, len(own) :] += 1 / concept_count
            left_out = torch.eye(len(part), dtype=hat.dtype, device=hat.device) - hat
            errors = torch.linalg.solve(left_out, torch.cat([residuals[own], concept_residuals[shown]]))
            mean = (total - self.targets[own].sum(0)) / max(count - len(own), 1)
            result[own] = self.targets[own] - errors[: len(own)] - mean
        return result


def _whiten(rows: Tensor, factor: Tensor) -> Tensor:
    """Return rows·L⁻ᵀ (n, R) of rows (n, R) and a lower triangular L (R, R)."""
    whitened: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
    return whitened


def _subtract(values: Tensor, fitted: Tensor) -> Tensor:
    """Return the difference, written over the fitted values."""
    return torch.sub(values, fitted, out=fitted)
