"""The rule velocity, which has several passes per call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion.install import fused
from studies.paper.methods import attach
from studies.paper.rules.velocity import FACTOR
from tests.fusion.rules.adapters import adapter, load_gates
from tests.studies.paper.rules.calls import draw, run
from tests.support.one_call import OneCall, build_transformer
from tests.support.tiny_flux import build_pipeline

ADAPTERS = [adapter(1), adapter(2, rank=5, share=0.5), adapter(3, share=0.3)]


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


def alone(pipeline: OneCall, *indices: int) -> Tensor:
    """Return the output with the sum of some of ADAPTERS."""
    with fused(pipeline.transformer, [ADAPTERS[i].lora for i in indices]):
        return pipeline()


def test_velocity_adds_what_each_adapter_changes_alone(transformer: Any) -> None:
    pipeline = OneCall(transformer)
    base = alone(pipeline)
    changes = sum(alone(pipeline, i) - base for i in range(3))
    output = run(pipeline, ADAPTERS, "velocity")
    torch.testing.assert_close(output, base + FACTOR * changes, atol=1e-5, rtol=1e-5)
    assert (output - alone(pipeline, 0, 1, 2)).abs().max() > 0.01, "it is not the sum of the updates"


def test_the_output_has_the_type_of_the_transformer_s_own(transformer: Any) -> None:
    pipeline = OneCall(transformer)
    plain = transformer.forward
    expected = run(pipeline, ADAPTERS[:2], "velocity")
    seen = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        return plain(*args, **kwargs | {"return_dict": True})

    def record(module: Any, inputs: Any, output: Any) -> None:
        seen.append(output)

    transformer.forward = forward
    try:
        with attach(pipeline, ADAPTERS[:2], "velocity", load_gates):
            handle = transformer.register_forward_hook(record)
            assert torch.equal(pipeline(), expected)
            handle.remove()
    finally:
        del transformer.forward
    assert torch.equal(seen[0].sample, expected)


def sum_of_changes(transformer: Any, factor: float) -> Callable[..., tuple[Tensor]]:
    """Return a `forward` that computes v0 + c Σ (v_i - v0) from transformers with one adapter each."""
    plain = transformer.forward

    def forward(*args: Any, **kwargs: Any) -> tuple[Tensor]:
        outputs = []
        for adapters in ([], *([one] for one in ADAPTERS[:2])):
            with fused(transformer, [one.lora for one in adapters]):
                outputs.append(plain(*args, **kwargs)[0])
        return (outputs[0] + factor * sum(output - outputs[0] for output in outputs[1:]),)

    return forward


@pytest.mark.parametrize("true_cfg", [False, True])
def test_a_negative_prompt_is_combined_as_the_prompt(true_cfg: bool) -> None:
    pipe = build_pipeline()
    base = draw(pipe, true_cfg=true_cfg)
    with attach(pipe, ADAPTERS[:2], "velocity", load_gates):
        output = draw(pipe, true_cfg=true_cfg)
    assert np.array_equal(draw(pipe, true_cfg=true_cfg), base)
    pipe.transformer.forward = sum_of_changes(pipe.transformer, FACTOR)
    expected = draw(pipe, true_cfg=true_cfg)
    assert np.abs(output - expected).max() * 255 < 0.01
    assert np.abs(output - base).max() * 255 > 5


def test_several_passes_and_a_cache_of_features_are_an_error(transformer: Any) -> None:
    from diffusers import FirstBlockCacheConfig

    pipeline = OneCall(build_transformer())
    pipeline.transformer.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(MismatchError, match="disable_cache"):
        run(pipeline, ADAPTERS, "velocity")
    pipeline.transformer.disable_cache()
    run(pipeline, ADAPTERS, "velocity")


@pytest.mark.slow
def test_compiled_transformers() -> None:
    pipeline = OneCall(build_transformer())
    plain, expected = pipeline(), run(pipeline, ADAPTERS, "velocity")
    pipeline.transformer = torch.compile(pipeline.transformer, backend="eager")
    torch.testing.assert_close(run(pipeline, ADAPTERS, "velocity"), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pipeline(), plain, atol=1e-5, rtol=1e-5)
