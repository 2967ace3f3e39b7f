"""KnOTS: the common basis, and the merged update against the formula on whole matrices."""

import pytest
import torch

from autolora.lora.factors import delta
from studies.paper.rules.knots import Knots, find_basis
from studies.paper.rules.trimming import merge_trimmed, smallest_kept
from tests.fusion.rules.adapters import adapter
from tests.studies.paper.rules.test_ties import merged_updates

ADAPTERS = [adapter(1), adapter(2, rank=5)]
SLOT = next(iter(ADAPTERS[0].lora))
CPU = torch.device("cpu")


@pytest.mark.parametrize("scaled", [False, True])
def test_updates_are_exact_in_the_common_basis(scaled: bool) -> None:
    basis = find_basis(ADAPTERS, SLOT, CPU, scaled=scaled)
    assert basis.left.shape[1] == 4 + 5
    for one in ADAPTERS:
        update = basis.left @ basis.coordinates[one.sha256]
        torch.testing.assert_close(update, delta(one.lora[SLOT]), atol=1e-5, rtol=1e-4)
    gram = basis.left.T @ basis.left
    values = torch.linalg.svdvals(torch.cat([delta(one.lora[SLOT]) for one in ADAPTERS], dim=1))[:9]
    expected = torch.eye(9) if scaled else values.square().diag()
    torch.testing.assert_close(gram, expected, atol=1e-4, rtol=1e-4)


def test_equal_updates_share_their_directions() -> None:
    same = [ADAPTERS[0], adapter(1)]
    basis = find_basis([same[0], type(same[1])("f" * 64, same[1].lora)], SLOT, CPU, scaled=False)
    first, second = basis.coordinates.values()
    assert len(first) == 4, "the rank of the sum of their ranges, not the sum of the ranks"
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scaled", [False, True])
def test_merged_update_is_that_of_whole_matrices(scaled: bool) -> None:
    actual = merged_updates(Knots(0.5, scaled=scaled), ADAPTERS)
    parts, lefts = {}, {}
    for name in ADAPTERS[0].lora:
        updates = [delta(one.lora[name]).double() for one in ADAPTERS]
        left, values, right = torch.linalg.svd(torch.cat(updates, dim=1), full_matrices=False)
        left, values, right = left[:, :9], values[:9], right[:9]
        right, left = (values[:, None] * right, left) if scaled else (right, left * values)
        parts[name], lefts[name] = right.float().split(updates[0].shape[1], dim=1), left.float()
    limits = [smallest_kept(lambda i=i: [part[i] for part in parts.values()], 0.5) for i in range(2)]
    for name, value in actual.items():
        torch.testing.assert_close(
            value, lefts[name] @ merge_trimmed(parts[name], limits), atol=1e-3, rtol=1e-3
        )
