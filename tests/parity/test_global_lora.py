"""The global LoRA reaches the exact optimum; products are compared, since factors are not unique."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.fusion.global_lora import truncated
from autolora.lora.factors import Factors, delta
from tests.parity import cases, rnd


def relative_error(approximation: Tensor, exact: Tensor) -> float:
    return float((approximation - exact).norm() / exact.norm())


@pytest.mark.parametrize("path", cases("global_lora*.npz"), ids=lambda path: path.stem)
def test_reaches_the_exact_optimum_of_the_reference(path: Path) -> None:
    reference = np.load(path)
    names = sorted(name[1:] for name in reference if name[0] == "A" and name[1:].isdigit())
    updates = [
        Factors(torch.from_numpy(reference[f"A{name}"]), torch.from_numpy(reference[f"B{name}"]), 1.0)
        for name in names
    ]
    (best_key,) = (name for name in reference if name.startswith("best_rank"))
    optimum, exact = torch.from_numpy(reference[best_key]), torch.from_numpy(reference["Wsum"])
    approximation = truncated(updates, int(best_key.removeprefix("best_rank")))
    torch.testing.assert_close(sum(delta(part) for part in updates), exact, atol=1e-4, rtol=1e-4)
    assert relative_error(delta(approximation), exact) == pytest.approx(
        relative_error(optimum, exact), abs=1e-4
    )
    torch.testing.assert_close(delta(approximation), optimum, atol=1e-4, rtol=1e-3)


def test_relative_error_of_the_first_reference() -> None:
    reference = np.load(cases("global_lora.npz")[0])
    updates = [
        Factors(torch.from_numpy(reference[f"A{i}"]), torch.from_numpy(reference[f"B{i}"]), 1.0)
        for i in (1, 2)
    ]
    assert relative_error(delta(truncated(updates, 4)), torch.from_numpy(reference["Wsum"])) == pytest.approx(
        0.5904, abs=1e-4
    )


def test_equals_a_second_derivation() -> None:
    updates = [
        Factors(rnd(f"w/A{i}", (rank, 10), 0.3).float(), rnd(f"w/B{i}", (14, rank), 0.3).float(), 1.0)
        for i, rank in enumerate((6, 3))
    ]
    exact = delta(updates[0]) + delta(updates[1])
    values = [1.73169, 1.28467, 0.85722, 0.69031, 0.53327, 0.48639, 0.34577, 0.24438, 0.10183]
    assert torch.linalg.svdvals(exact)[:9].tolist() == pytest.approx(values, abs=2e-5)
    assert torch.linalg.svdvals(delta(truncated(updates, 9)))[:9].tolist() == pytest.approx(values, abs=2e-5)
    approximation = truncated(updates, 4)
    assert relative_error(delta(approximation), exact) == pytest.approx(0.328847, abs=1e-6)
    assert torch.linalg.svdvals(delta(approximation))[:4].tolist() == pytest.approx(values[:4], abs=2e-5)
