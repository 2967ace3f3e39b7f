"""The contrastive loss: its value, its mask, its temperature."""

import math
import zlib

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from autolora.contrastive import COLDEST, WARMEST, Temperature, alike, contrastive_loss


def reference(name: str) -> Tensor:
    """Return a (4, 8) matrix from numpy's legacy generator, whose stream never changes."""
    drawn = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(32).astype(np.float32)
    return torch.from_numpy(drawn.reshape(4, 8)).double()


@pytest.mark.parametrize(("tau", "published"), [(1.0, 18.914009), (0.07, 6.273324)])
def test_equals_the_released_loss(tau: float, published: float) -> None:
    """Their loss is the sum over both directions, times 10."""
    texts = reference("parity/l/t")
    adapters = 0.5 * reference("parity/l/l") + 0.5 * texts
    loss = contrastive_loss(
        functional.normalize(texts, dim=1),
        functional.normalize(adapters, dim=1),
        torch.tensor(tau, dtype=torch.float64),
        torch.zeros(4, 4, dtype=torch.bool),
    )
    assert math.isclose(20 * float(loss), published, abs_tol=1e-5)


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
