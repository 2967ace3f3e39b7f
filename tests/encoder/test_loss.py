"""The contrastive loss: its value, the pairs it ignores, its temperature."""

import math

import pytest
import torch
from torch.nn import functional

from autolora.encoder.loss import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Temperature,
    contrastive_loss,
    shares_label,
)


def test_ignored_pairs_are_not_negatives() -> None:
    texts, adapters = (functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    tau = torch.tensor(0.1)
    ignored = shares_label(torch.tensor([0, 1, 1, 2, 3]))
    loss = contrastive_loss(texts, adapters, tau, ignored)
    scores = texts @ adapters.T / tau
    expected = 0.0
    for matrix in (scores, scores.T):
        for i in range(5):
            columns = [j for j in range(5) if j == i or not ignored[i, j]]
            expected += float(matrix[i, columns].logsumexp(0) - matrix[i, i]) / 10
    assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_loss_without_negatives_is_zero() -> None:
    texts, adapters = (functional.normalize(torch.randn(3, 8), dim=1) for _ in range(2))
    loss = contrastive_loss(texts, adapters, torch.tensor(0.1), torch.ones(3, 3, dtype=torch.bool))
    assert float(loss) == 0


def test_pairs_share_a_label_if_any_of_them_is_equal() -> None:
    shared = shares_label(torch.tensor([0, 0, 1]), torch.tensor([5, 6, 6]))
    assert shared.tolist() == [[True, True, False], [True, True, True], [False, True, True]]


@pytest.mark.parametrize(
    ("initial", "expected"), [(0.07, 0.07), (1e-6, MIN_TEMPERATURE), (9.0, MAX_TEMPERATURE)]
)
def test_learned_temperature_is_clamped(initial: float, expected: float) -> None:
    assert math.isclose(Temperature(initial)().item(), expected, rel_tol=1e-5)


def test_learned_temperature_gets_a_gradient() -> None:
    temperature = Temperature(0.07)
    vectors = functional.normalize(torch.randn(6, 8), dim=1)
    loss = contrastive_loss(vectors, vectors, temperature(), torch.eye(6, dtype=torch.bool))
    loss.backward()
    assert temperature.log.grad is not None and float(temperature.log.grad) > 0


def test_fixed_temperature_is_neither_clamped_nor_trained() -> None:
    temperature = Temperature(1.0, learned=False)
    assert temperature().item() == 1.0
    assert not temperature().requires_grad
