"""The temperature of the contrastive loss; tests/parity has its value."""

import math

import pytest
import torch
from torch.nn import functional

from autolora.encoder.loss import (
    MAX_TEMPERATURE,
    MIN_TEMPERATURE,
    Temperature,
    contrastive_loss,
)


@pytest.mark.parametrize(
    ("initial", "expected"), [(0.07, 0.07), (1e-6, MIN_TEMPERATURE), (9.0, MAX_TEMPERATURE)]
)
def test_learned_temperature_is_clamped(initial: float, expected: float) -> None:
    assert math.isclose(Temperature(initial)().item(), expected, rel_tol=1e-5)


def test_learned_temperature_gets_a_gradient() -> None:
    temperature = Temperature(0.07)
    vectors = functional.normalize(torch.randn(6, 8), dim=1)
    loss = contrastive_loss(vectors, vectors, temperature())
    loss.backward()
    assert temperature.log.grad is not None and float(temperature.log.grad) > 0


def test_fixed_temperature_is_neither_clamped_nor_trained() -> None:
    temperature = Temperature(1.0, learned=False)
    assert temperature().item() == 1.0
    assert not temperature().requires_grad
