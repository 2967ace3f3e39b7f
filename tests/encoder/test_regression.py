"""The regression on adapters: equal to its textbook form, and exact out of fold."""

import torch
from torch import Tensor

from autolora.encoder.regression import Regression

FEATURES, WIDTH, RIDGE = 20, 6, 0.3
FAMILIES = ["a", "a", "b", "c", "c", *"defghijk"]


def draw(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def centered(rows: Tensor) -> Tensor:
    return rows - rows.mean(0)


def make_regression() -> Regression:
    features = centered(draw(len(FAMILIES), FEATURES, seed=0))
    return Regression(features, draw(len(FAMILIES), WIDTH, seed=1), FAMILIES, RIDGE)


def refit(regression: Regression, family: str) -> Tensor:
    """Return the predictions for a family by a regression without its adapters, whose intercept is not penalized,
    relative to the mean target."""
    kept = [row for row, other in enumerate(regression.families) if other != family]
    rows = torch.cat([torch.ones(len(kept), 1, dtype=torch.float64), regression.features[kept]], dim=1)
    penalty = torch.diag(torch.tensor([0.0] + [RIDGE] * FEATURES, dtype=torch.float64))
    coefficients = torch.linalg.solve(rows.T @ rows + penalty, rows.T @ regression.targets[kept])
    members = [row for row, other in enumerate(regression.families) if other == family]
    predicted = coefficients[0] + regression.features[members] @ coefficients[1:]
    return predicted - regression.targets[kept].mean(0)


def test_out_of_fold_predictions_are_those_of_fits_without_the_family() -> None:
    regression = make_regression()
    out_of_fold = regression.out_of_fold()
    for family in set(FAMILIES):
        members = [row for row, other in enumerate(FAMILIES) if other == family]
        assert torch.allclose(out_of_fold[members], refit(regression, family), atol=1e-9)


def test_the_solution_minimizes_the_penalized_sum_of_squares() -> None:
    regression = make_regression()
    solution = regression.solve().requires_grad_()
    loss = (
        regression.features @ solution - centered(regression.targets)
    ).square().sum() + RIDGE * solution.square().sum()
    (gradient,) = torch.autograd.grad(loss, solution)
    assert float(gradient.abs().max()) < 1e-9
