"""Recording the mean gates while a transformer runs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.fusion import store as fusion
from autolora.fusion.gate import Gate
from autolora.fusion.gate_means import GLOBAL, GateMeans
from autolora.fusion.install import fused
from autolora.fusion.recorder import GateRecorder
from autolora.fusion.slot_fusion import MAX_TOKENS, SlotFusion
from autolora.lora.factors import Lora
from autolora.presets import SlotView
from autolora.presets.fusion import FUSION
from tests.fusion.test_install import run
from tests.support.tiny_flux import CONFIG, random_lora

NAMES = ("a" * 64, "b" * 64)
CLOSED = replace(FUSION["best"], relevance=False, init_std=0.0, init_bias=0.0, global_rank=0)
"""logits are the bias, so all gates of a slot are equal"""


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def record(
    transformer: Any, gates: Any, loras: Sequence[Lora], steps: int = 2
) -> tuple[GateMeans | None, Tensor]:
    """Return what is recorded of some steps, and the output of the last one."""
    recorder = GateRecorder(transformer.config)
    recorder.begin(NAMES[: len(loras)])
    with fused(transformer, loras, gates=gates, recorder=recorder):
        for step in range(1, steps + 1):
            output = run(transformer)
            recorder.end_step(step)
    return recorder.result(), output


@pytest.mark.parametrize("view", ["canonical", "fused"])
def test_means_are_those_of_the_gates_of_each_block(transformer: Any, view: SlotView) -> None:
    gates = fusion.build(CONFIG, replace(CLOSED, slots=view))
    for number, opening in enumerate([0.2, 0.5, 0.7]):  # one double block, two single ones
        stack = f"{'' if number == 0 else 'single_'}{'' if view == 'fused' else 'transformer_'}blocks"
        prefix = f"{stack}___{number - (number > 0)}___"
        chosen = [gate for name, gate in gates.model_dict.items() if name.startswith(prefix)]
        assert chosen
        for gate in chosen:
            assert isinstance(gate, Gate)
            torch.nn.init.constant_(gate.bias, float(torch.logit(torch.tensor(opening))))
    means, _ = record(transformer, gates, [random_lora(1), random_lora(2)])
    assert means is not None and means.adapters == NAMES and (means.double_blocks, means.steps) == (1, 2)
    assert means.values.shape == (2, 3, 2)
    assert np.allclose(means.values, np.array([0.2, 0.5, 0.7])[None, :, None], atol=1e-6)


def test_recording_changes_no_bit_of_the_output(transformer: Any) -> None:
    torch.manual_seed(1)
    gates = fusion.build(CONFIG, replace(FUSION["best"], init_std=0.5, init_bias=0.0, global_rank=2))
    loras = [random_lora(1), random_lora(2)]
    means, output = record(transformer, gates, loras)
    with fused(transformer, loras, gates=gates):
        assert torch.equal(run(transformer), output)
    assert means is not None and means.adapters == (*NAMES, GLOBAL)
    assert 0 < np.nanmin(means.values) < np.nanmax(means.values) < 1


def test_an_adapter_has_no_mean_in_a_block_that_it_does_not_change(transformer: Any) -> None:
    gates = fusion.build(CONFIG, CLOSED)
    first = {
        name: factors for name, factors in random_lora(1).items() if name.startswith("transformer_blocks.0.")
    }
    means, _ = record(transformer, gates, [first, random_lora(2)])
    assert means is not None
    assert np.isnan(means.values[0, 1:]).all() and not np.isnan(means.values[1]).any()
    assert not np.isnan(means.values[0, 0]).any()
    means, _ = record(transformer, gates, [random_lora(2), {}])
    assert means is not None and means.adapters == NAMES and np.isnan(means.values[1]).all()


def test_batches_of_images_are_averaged_per_step(transformer: Any) -> None:
    recorder = GateRecorder(transformer.config)
    recorder.begin(NAMES[:1])
    gates = fusion.build(CONFIG, CLOSED)
    for opening in (0.2, 0.4):  # two batches of two steps
        for gate in gates.model_dict.values():
            assert isinstance(gate, Gate)
            torch.nn.init.constant_(gate.bias, float(torch.logit(torch.tensor(opening))))
        with fused(transformer, [random_lora(1)], gates=gates, recorder=recorder):
            for step in (1, 2):
                run(transformer)
                recorder.end_step(step)
    means = recorder.result()
    assert means is not None and means.steps == 2 and np.allclose(means.values, 0.3, atol=1e-6)


def test_without_gates_there_is_nothing_to_record(transformer: Any) -> None:
    means, _ = record(transformer, fusion.build(CONFIG, CLOSED), [])
    assert means is None


def test_means_of_a_sample_of_tokens_are_close_to_those_of_all() -> None:
    torch.manual_seed(0)
    gate = fusion.build(CONFIG, replace(FUSION["best"], init_std=1.0, global_rank=0)).of(
        "transformer_blocks.0.attn.to_q"
    )
    factors = random_lora(1)["transformer_blocks.0.attn.to_q"]
    slot = SlotFusion([(factors, torch.ones(()))], gate)
    x, output = torch.randn(1, 8 * MAX_TOKENS + 3, 32), torch.randn(1, 8 * MAX_TOKENS + 3, 32)
    with torch.no_grad():
        sampled = slot.gate_means(output, x)
        (values,) = gate.gate_values(
            output, [(x @ factors.down.T @ factors.up.T * factors.scale, torch.ones(()))]
        )
        assert sampled.shape == (1,) and float(sampled) == pytest.approx(float(values.mean()), abs=0.02)
        assert float(values.std()) > 0.05
