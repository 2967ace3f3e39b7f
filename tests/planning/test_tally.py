"""Counting on the meta device: operations, traffic and memory of computations whose cost is known."""

import pytest
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from autolora.fusion.flow_matching import predict_velocity
from autolora.planning.passes import noised_batch
from autolora.planning.tally import Tally, count
from tests.support.tiny_flux import CONFIG


def test_a_product_of_matrices() -> None:
    tally = count(lambda: torch.zeros(4, 8) @ torch.zeros(8, 2))
    assert tally.flops == 2 * 4 * 8 * 2
    assert (
        tally.traffic == 2 * 4 * (4 * 8 + 8 * 2) + 4 * 4 * 2
    )  # both factors are written and read, the result written
    assert tally.peak == 4 * (4 * 8 + 8 * 2 + 4 * 2)


def test_memory_is_freed_and_views_have_none() -> None:
    def run() -> None:
        x = torch.zeros(1000)
        for _ in range(5):
            x = x.view(10, 100).t().reshape(-1)[:1000] + 1

    assert 2 * 4000 <= count(run).peak <= 3 * 4000


def test_weights_that_exist_already_are_not_counted() -> None:
    weight = torch.zeros(100, 100, device="meta")
    tally = count(lambda: functional.linear(torch.zeros(1, 100), weight))
    assert tally.peak == 4 * 200
    assert tally.traffic > weight.nbytes


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_is_one_kernel_without_a_matrix_of_all_pairs(heads: int) -> None:
    tokens, width = 512, 8

    def run() -> None:
        query, key = torch.zeros(1, 4, tokens, width), torch.zeros(1, heads, tokens, width)
        functional.scaled_dot_product_attention(query, key, key, enable_gqa=heads != 4)

    tally = count(run)
    assert tally.flops == 4 * 4 * tokens**2 * width
    assert tally.peak < 4 * 4 * tokens**2


def test_the_backward_pass_of_a_frozen_linear_costs_as_much_as_the_forward_pass() -> None:
    weight = torch.zeros(32, 16, device="meta")

    def run(*, backward: bool) -> None:
        loss = functional.linear(torch.zeros(8, 16, requires_grad=True), weight).sum()
        if backward:
            loss.backward()

    assert count(lambda: run(backward=True)).flops == 2 * count(lambda: run(backward=False)).flops


def test_tallies_are_added_and_multiplied() -> None:
    one = Tally(1, 2, 3, 4)
    assert one + one * 2 == Tally(3, 6, 9, 12)
    assert one * 3 - one == one * 2


def test_a_model_without_weights_counts_as_a_real_one() -> None:
    from diffusers import FluxTransformer2DModel

    def run(device: str) -> None:
        with torch.device(device), torch.no_grad():
            predict_velocity(transformers[device], noised_batch(transformers[device], 2, 16, 5), 1.0)

    transformers = {}
    for device in ("cpu", "meta"):
        with torch.device(device):
            transformers[device] = FluxTransformer2DModel(**CONFIG)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run("cpu")
    assert count(lambda: run("meta")).flops == counter.get_total_flops()
