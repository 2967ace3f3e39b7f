"""TIES and DARE of factors equal PEFT's `add_weighted_adapter`."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from autolora.errors import MismatchError
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Factors, delta
from studies.paper.methods import Method
from studies.paper.rules.dare import drop_values
from studies.paper.rules.factorwise import DareFactors, TiesFactors, merge_factors
from tests.fusion.rules.adapters import adapter
from tests.studies.paper.rules.calls import run
from tests.support.one_call import OneCall, build_transformer

RANK, D_IN, D_OUT = 3, 6, 8


def random_adapter(seed: int, scale: float) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    down, up = torch.randn(RANK, D_IN, generator=generator), torch.randn(D_OUT, RANK, generator=generator)
    return Adapter(str(seed), {"slot": Factors(down=down, up=up, scale=scale)})


@pytest.mark.parametrize("scales", [(1.0, 1.0), (0.5, 2.0), (1.0, -0.7)])
def test_ties_of_factors_is_what_peft_computes(scales: tuple[float, float]) -> None:
    adapters = [random_adapter(seed, scale) for seed, scale in enumerate(scales)]
    config = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["0"])
    model = get_peft_model(nn.Sequential(nn.Linear(D_IN, D_OUT)), config, adapter_name="0")
    model.add_adapter("1", config)
    layer = model.base_model.model[0]
    for one in adapters:
        layer.lora_A[one.sha256].weight.data = one.lora["slot"].down
        layer.lora_B[one.sha256].weight.data = one.lora["slot"].up
    model.add_weighted_adapter(["0", "1"], list(scales), "merged", combination_type="ties", density=0.5)
    expected = layer.lora_B["merged"].weight @ layer.lora_A["merged"].weight * layer.scaling["merged"]
    rule = TiesFactors(0.5)
    merged = merge_factors(adapters, rule._merge)
    torch.testing.assert_close(delta(merged["slot"]), expected.detach(), atol=1e-5, rtol=1e-5)


def test_dare_of_factors_adds_factors_with_dropped_values() -> None:
    adapters = [random_adapter(0, 1.0), random_adapter(1, 4.0)]
    rule = DareFactors(drop=0.5, seed=3)
    merged = merge_factors(adapters, rule._merge)["slot"]
    first, second = (drop_values(one.lora["slot"].down, 0.5, 3, one.sha256, "slot down") for one in adapters)
    torch.testing.assert_close(merged.down, first + 2 * second)
    assert merged.rank == RANK


@pytest.mark.parametrize("method", ["ties_factors", "dare_factors"])
def test_unequal_ranks_are_an_error_that_names_the_alternative(method: Method) -> None:
    adapters = [adapter(1), adapter(2, rank=5)]
    with pytest.raises(MismatchError, match=r"have ranks 4, 5, .* use `ties` or `dare`"):
        run(OneCall(build_transformer()), adapters, method)


def test_slots_of_one_adapter_are_merged_too() -> None:
    other = replace(random_adapter(1, 1.0), lora={"other": random_adapter(1, 1.0).lora["slot"]})
    merged = merge_factors([random_adapter(0, 1.0), other], TiesFactors(0.5)._merge)
    assert set(merged) == {"slot", "other"}
    assert (merged["slot"].down == 0).sum() == RANK * D_IN // 2
