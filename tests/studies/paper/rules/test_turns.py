"""Rules by which adapters act by turns: composite and switch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion.install import fused
from studies.paper.methods import RuleNumbers
from tests.fusion.rules.adapters import adapter
from tests.studies.paper.rules.calls import run
from tests.support.one_call import OneCall, Scheduler, build_transformer

ADAPTERS = [adapter(1), adapter(2, rank=5, share=0.5), adapter(3, share=0.3)]


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


def alone(pipeline: OneCall, index: int) -> Tensor:
    """Return the output with one of ADAPTERS."""
    with fused(pipeline.transformer, [ADAPTERS[index].lora]):
        return pipeline()


def test_composite_is_the_mean_of_the_outputs_with_each_adapter_alone(transformer: Any) -> None:
    pipeline = OneCall(transformer)
    mean = torch.stack([alone(pipeline, i) for i in range(3)]).mean(0)
    torch.testing.assert_close(run(pipeline, ADAPTERS, "composite"), mean, atol=1e-5, rtol=1e-5)


def test_switch_lets_each_adapter_act_for_some_steps(transformer: Any) -> None:
    order = []
    for step in range(10):
        pipeline = OneCall(transformer, step, steps=10)
        output = run(pipeline, ADAPTERS[:2][::-1], "switch", RuleNumbers(switch_steps=3))
        order.append([torch.equal(output, alone(pipeline, i)) for i in range(2)].index(True))
    assert order == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]


def test_switch_outside_the_steps_of_the_pipeline_is_an_error(transformer: Any) -> None:
    pipeline = OneCall(transformer)
    pipeline.scheduler = Scheduler(10, 10)
    with pytest.raises(MismatchError, match="outside the steps of the pipeline"):
        run(pipeline, ADAPTERS, "switch")
