"""The regression on adapters and concepts: equal to its textbook form, and exact out of fold, whatever the weight."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autolora.encoder.regression import CONCEPT_WEIGHTS, JointRegression

FEATURES, WIDTH, RIDGE = 20, 6, 0.3
FAMILIES = ["a", "a", "b", "c", "c", *"defghijk"]
CONCEPT_FAMILIES = [
    frozenset("a"),
    frozenset(),
    frozenset("bc"),
    frozenset("k"),
    frozenset("xy"),
    frozenset(),
]


def draw(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def centered(rows: Tensor) -> Tensor:
    return rows - rows.mean(0)


def make_regression(**changes: object) -> JointRegression:
    regression = JointRegression(
        features=centered(draw(len(FAMILIES), FEATURES, seed=0)),
        targets=draw(len(FAMILIES), WIDTH, seed=1),
        families=FAMILIES,
        concept_features=centered(draw(len(CONCEPT_FAMILIES), FEATURES, seed=2)),
        concept_targets=draw(len(CONCEPT_FAMILIES), WIDTH, seed=3),
        concept_families=CONCEPT_FAMILIES,
        ridge=RIDGE,
    )
    return replace(regression, **changes)  # type: ignore[arg-type]


def refit(regression: JointRegression, weight: float, family: str) -> Tensor:
    """Return the predictions for a family by a regression without its adapters and concepts, whose two intercepts are
    not penalized, relative to the mean target."""
    kept = [row for row, other in enumerate(regression.families) if other != family]
    concepts = [row for row, shown in enumerate(regression.concept_families) if family not in shown]
    intercepts = torch.eye(2, dtype=torch.float64)
    adapters = torch.cat([intercepts[[0] * len(kept)], regression.features[kept]], dim=1)
    further = torch.cat([intercepts[[1] * len(concepts)], regression.concept_features[concepts]], dim=1)
    rows = torch.cat([adapters, weight**0.5 * further])
    targets = torch.cat([regression.targets[kept], weight**0.5 * regression.concept_targets[concepts]])
    penalty = torch.diag(torch.tensor([0.0, 0.0] + [RIDGE] * FEATURES, dtype=torch.float64))
    coefficients = torch.linalg.pinv(rows.T @ rows + penalty, hermitian=True) @ (rows.T @ targets)
    members = [row for row, other in enumerate(regression.families) if other == family]
    predicted = coefficients[0] + regression.features[members] @ coefficients[2:]
    return predicted - regression.targets[kept].mean(0)


@pytest.mark.parametrize("weight", CONCEPT_WEIGHTS)
def test_out_of_fold_predictions_are_those_of_fits_without_family_and_its_concepts(weight: float) -> None:
    regression = make_regression()
    out_of_fold = regression.out_of_fold(weight)
    for family in set(FAMILIES):
        members = [row for row, other in enumerate(FAMILIES) if other == family]
        assert torch.allclose(out_of_fold[members], refit(regression, weight, family), atol=1e-9)


def test_a_family_that_all_concepts_show_is_predicted_without_concepts() -> None:
    shown = [frozenset("a"), *[frozenset("ac")] * (len(CONCEPT_FAMILIES) - 1)]
    regression = make_regression(concept_families=shown)
    alone = make_regression().out_of_fold(0.0)
    out_of_fold = regression.out_of_fold(1.0)
    assert torch.allclose(out_of_fold[:2], alone[:2], atol=1e-9)
    assert torch.allclose(out_of_fold[3:5], refit(regression, 1.0, "c"), atol=1e-9)


def test_a_family_does_not_learn_from_concepts_that_show_it() -> None:
    """Otherwise the target of this concept would be its prediction."""
    regression = make_regression()
    targets = regression.concept_targets.clone()
    targets[0] = 100.0
    changed = replace(regression, concept_targets=targets).out_of_fold(1.0)
    unchanged = regression.out_of_fold(1.0)
    assert torch.allclose(changed[:2], unchanged[:2], atol=1e-9)
    assert not torch.allclose(changed[2:], unchanged[2:], atol=1e-2)


def test_the_mean_of_all_concepts_does_not_give_a_family_away() -> None:
    """Each family has a concept like itself, which counts in the mean that the other concepts are relative to; targets
    cannot be predicted from other families."""
    features, families = draw(40, 60, seed=6), [str(row) for row in range(40)]
    targets = torch.nn.functional.normalize(draw(40, WIDTH, seed=7), dim=-1)
    regression = make_regression(
        features=centered(features),
        targets=targets,
        families=families,
        concept_features=centered(features),
        concept_targets=targets,
        concept_families=[frozenset({family}) for family in families],
    )
    assert abs(regression.mean_cosine(10.0)) < 0.15


def test_the_solution_minimizes_the_weighted_sum_of_squares() -> None:
    regression = make_regression()
    solution = regression.solve(3.0).requires_grad_()
    loss = (
        (regression.features @ solution - regression.centered).square().sum()
        + 3.0 * (regression.concept_features @ solution - centered(regression.concept_targets)).square().sum()
        + RIDGE * solution.square().sum()
    )
    (gradient,) = torch.autograd.grad(loss, solution)
    assert float(gradient.abs().max()) < 1e-9


def test_concepts_that_agree_with_adapters_count_and_others_do_not() -> None:
    coefficients = draw(FEATURES, WIDTH, seed=4)
    features, concepts = centered(draw(len(FAMILIES), FEATURES, seed=0)), centered(draw(60, FEATURES, seed=5))
    agreeing = make_regression(
        targets=features @ coefficients,
        concept_features=concepts,
        concept_targets=concepts @ coefficients,
        concept_families=[frozenset()] * 60,
    )
    opposed = replace(agreeing, concept_targets=-concepts @ coefficients)
    assert opposed.choose_weight() == 0
    weight = agreeing.choose_weight()
    assert weight > 0
    assert agreeing.mean_cosine(weight) > 0.99 > 0.9 > agreeing.mean_cosine(0.0)
