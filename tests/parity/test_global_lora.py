"""The global LoRA reaches the exact optimum; never the factors are compared, only their product."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.fusion.global_lora import truncated
from autolora.lora.factors import Factors, delta
from tests.parity import cases, rnd


def error(found: Tensor, whole: Tensor) -> float:
    """Return the relative error of an approximation."""
    return float((found - whole).norm() / whole.norm())


@pytest.mark.parametrize("path", cases("global_lora*.npz"), ids=lambda path: path.stem)
def test_reaches_the_exact_optimum_of_the_reference(path: Path) -> None:
    given = np.load(path)
    names = sorted(name[1:] for name in given if name[0] == "A" and name[1:].isdigit())
    parts = [
        Factors(torch.from_numpy(given[f"A{name}"]), torch.from_numpy(given[f"B{name}"]), 1.0)
        for name in names
    ]
    (best,) = (name for name in given if name.startswith("best_rank"))
    optimum, whole = torch.from_numpy(given[best]), torch.from_numpy(given["Wsum"])
    found = truncated(parts, int(best.removeprefix("best_rank")))
    torch.testing.assert_close(sum(delta(part) for part in parts), whole, atol=1e-4, rtol=1e-4)
    assert error(delta(found), whole) == pytest.approx(error(optimum, whole), abs=1e-4)
    torch.testing.assert_close(delta(found), optimum, atol=1e-4, rtol=1e-3)


def test_relative_error_of_the_first_reference() -> None:
    given = np.load(cases("global_lora.npz")[0])
    parts = [Factors(torch.from_numpy(given[f"A{i}"]), torch.from_numpy(given[f"B{i}"]), 1.0) for i in (1, 2)]
    assert error(delta(truncated(parts, 4)), torch.from_numpy(given["Wsum"])) == pytest.approx(
        0.5904, abs=1e-4
    )


def test_equals_a_second_derivation() -> None:
    parts = [
        Factors(rnd(f"w/A{i}", (rank, 10), 0.3).float(), rnd(f"w/B{i}", (14, rank), 0.3).float(), 1.0)
        for i, rank in enumerate((6, 3))
    ]
    whole = delta(parts[0]) + delta(parts[1])
    values = [1.73169, 1.28467, 0.85722, 0.69031, 0.53327, 0.48639, 0.34577, 0.24438, 0.10183]
    assert torch.linalg.svdvals(whole)[:9].tolist() == pytest.approx(values, abs=2e-5)
    assert torch.linalg.svdvals(delta(truncated(parts, 9)))[:9].tolist() == pytest.approx(values, abs=2e-5)
    found = truncated(parts, 4)
    assert error(delta(found), whole) == pytest.approx(0.328847, abs=1e-6)
    assert torch.linalg.svdvals(delta(found))[:4].tolist() == pytest.approx(values[:4], abs=2e-5)
