"""The contrastive loss equals the released one, and a second derivation of it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from autolora.encoder.loss import Temperature, contrastive_loss
from studies.released.presets import ENCODER as RELEASED
from tests.parity import cases, rnd


def released_loss(texts: Tensor, adapters: Tensor, tau: float = RELEASED.temperature) -> float:
    """Return the loss of the preset `released`."""
    temperature = Temperature(tau, RELEASED.temperature_learned).double()()
    loss = contrastive_loss(normalize(texts), normalize(adapters), temperature, RELEASED.loss_factor)
    return loss.item()


@pytest.mark.parametrize("path", cases("contrastive*.npz"), ids=lambda path: path.stem)
def test_equals_the_released_loss(path: Path) -> None:
    reference = np.load(path)
    texts, adapters = (torch.from_numpy(reference[name]).double() for name in ("text", "lora"))
    assert released_loss(texts, adapters) == pytest.approx(float(reference["loss"]), abs=1e-5)
    torch.testing.assert_close(
        normalize(texts) @ normalize(adapters).T,
        torch.from_numpy(reference["sim"]).double(),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize(("tau", "expected"), [(1.0, 18.914009), (0.07, 6.273324)])
def test_equals_a_second_derivation(tau: float, expected: float) -> None:
    texts = rnd("l/t", (4, 8))
    adapters = 0.5 * rnd("l/l", (4, 8)) + 0.5 * texts
    cosines = normalize(texts) @ normalize(adapters).T
    assert cosines[0, :2].tolist() == pytest.approx([0.675980, 0.450304], abs=1e-6)
    assert released_loss(texts, adapters, tau) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(("cosine", "expected"), [(1.0, 69.3), (-1.0, 33.0), (0.0, 50.4)])
def test_chance_and_minimum_of_a_batch_of_32(cosine: float, expected: float) -> None:
    scores = torch.full((32, 32), cosine, dtype=torch.float64).fill_diagonal_(1.0)
    both = -(scores.log_softmax(1).diagonal() + scores.log_softmax(0).diagonal())
    assert float(RELEASED.loss_factor * both.mean()) == pytest.approx(expected, abs=0.05)
    if cosine == 0:
        loss = released_loss(torch.eye(32, dtype=torch.float64), torch.eye(32, dtype=torch.float64))
        assert loss == pytest.approx(expected, abs=0.05)
