"""The contrastive loss: its value, its mask, its temperature."""

import math

import pytest
import torch
from torch.nn import functional

from autolora.encoder.loss import COLDEST, WARMEST, Temperature, alike, contrastive_loss


def test_members_of_one_group_are_no_negatives() -> None:
    texts, adapters = (functional.normalize(torch.randn(5, 8), dim=1) for _ in range(2))
    tau = torch.tensor(0.1)
    same = alike(torch.tensor([0, 1, 1, 2, 3]))
    loss = contrastive_loss(texts, adapters, tau, same)
    scores = texts @ adapters.T / tau
    expected = 0.0
    for matrix in (scores, scores.T):
        for i in range(5):
            others = [j for j in range(5) if j == i or not same[i, j]]
            expected += float(matrix[i, others].logsumexp(0) - matrix[i, i]) / 10
    assert math.isclose(float(loss), expected, rel_tol=1e-5)


def test_a_batch_of_one_group_has_nothing_to_tell_apart() -> None:
    texts, adapters = (functional.normalize(torch.randn(3, 8), dim=1) for _ in range(2))
    loss = contrastive_loss(texts, adapters, torch.tensor(0.1), torch.ones(3, 3, dtype=torch.bool))
    assert float(loss) == 0


def test_alike_by_any_label() -> None:
    found = alike(torch.tensor([0, 0, 1]), torch.tensor([5, 6, 6]))
    assert found.tolist() == [[True, True, False], [True, True, True], [False, True, True]]


@pytest.mark.parametrize(("start", "expected"), [(0.07, 0.07), (1e-6, COLDEST), (9.0, WARMEST)])
def test_temperature_is_clamped(start: float, expected: float) -> None:
    assert math.isclose(Temperature(start)().item(), expected, rel_tol=1e-5)


def test_temperature_learns() -> None:
    temperature = Temperature(0.07)
    vectors = functional.normalize(torch.randn(6, 8), dim=1)
    loss = contrastive_loss(vectors, vectors, temperature(), torch.eye(6, dtype=torch.bool))
    loss.backward()
    assert temperature.log.grad is not None and float(temperature.log.grad) > 0


def test_a_fixed_temperature_stays_what_it_is() -> None:
    temperature = Temperature(1.0, learned=False)
    assert temperature().item() == 1.0
    assert not temperature().requires_grad
