"""Counts of the passes through the models: what must be equal, larger or smaller than what."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.fusion.flow_matching import predict_velocity
from autolora.params import Params
from autolora.planning import meta_models, passes
from autolora.planning.meta_models import MetaPipeline
from autolora.planning.tally import count
from tests.support.tiny_flux import CONFIG

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline(params: Params) -> MetaPipeline:
    return meta_models.pipeline(params.models)


def test_three_counts_of_few_blocks_give_that_of_many(params: Params, pipeline: MetaPipeline) -> None:
    config = CONFIG | {"num_layers": 3, "num_single_layers": 5}
    deep = MetaPipeline(pipeline.configs | {"transformer": config}, torch.float32)
    generation = replace(params.generation, batch=2)

    def run() -> None:
        batch = passes.noised_batch(transformer, 2, 4, generation.max_sequence_length)
        with torch.no_grad():
            predict_velocity(transformer, batch, generation.guidance)

    transformer: Any = deep.transformer
    whole, estimated = count(run), passes.denoising_step(deep, generation, 0, 1, None)
    assert estimated.flops == whole.flops
    assert estimated.traffic == pytest.approx(whole.traffic, rel=0.01)
    assert estimated.calls == pytest.approx(whole.calls, rel=0.01)
    assert estimated.peak == pytest.approx(whole.peak, rel=0.2)


def test_adapters_and_gates_cost_more(params: Params, pipeline: MetaPipeline) -> None:
    variant = params.fusion.variant
    base, direct, gated = (
        passes.denoising_step(pipeline, params.generation, adapters, 4, gates)
        for adapters, gates in ((0, None), (2, None), (2, variant))
    )
    assert base.flops < direct.flops < gated.flops  # the gates add the global LoRA
    assert base.traffic < direct.traffic < gated.traffic
    assert base.calls < direct.calls < gated.calls


def test_half_precision_reads_and_writes_less(
    params: Params, pipeline: MetaPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.fusion.gated_pass.COMPILED_FROM", 1)  # as if the transformer were large
    single, half = (
        passes.denoising_step(
            MetaPipeline(pipeline.configs, dtype), params.generation, 2, 4, params.fusion.variant
        )
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert half.traffic < 0.8 * single.traffic


def test_a_training_step_recomputes_to_save_memory(params: Params, pipeline: MetaPipeline) -> None:
    tokens = params.generation.max_sequence_length
    plain, checkpointed = (
        passes.training_step(pipeline, replace(params.fusion, checkpointing=checkpointing), tokens, 4)
        for checkpointing in (False, True)
    )
    assert checkpointed.flops == pytest.approx(1.5 * plain.flops, rel=0.2)
    assert checkpointed.peak < plain.peak


def test_a_batch_costs_as_many_calls(params: Params, pipeline: MetaPipeline) -> None:
    one, four = (
        passes.denoising_step(pipeline, replace(params.generation, batch=batch), 2, 4, None)
        for batch in (1, 4)
    )
    assert four.calls == pytest.approx(one.calls, rel=0.02)
    assert four.flops == pytest.approx(4 * one.flops, rel=0.01)


def test_texts_and_images(params: Params, pipeline: MetaPipeline) -> None:
    assert passes.encode_texts(pipeline, 2, 12).flops > passes.clip_texts(pipeline, 2, 12).flops > 0
    assert passes.encode_images(pipeline, 3, 32).flops == 3 * passes.encode_images(pipeline, 1, 32).flops
    one, two = (passes.decode_images(pipeline, replace(params.generation, batch=batch)) for batch in (1, 2))
    assert two.peak == pytest.approx(2 * one.peak, rel=0.1)


def test_vision_language_models(params: Params) -> None:
    vlm = meta_models.vlm(params.models, torch.float32)
    side = vlm.config.vision_config.patch_size * vlm.config.vision_config.spatial_merge_size
    assert passes.image_tokens(vlm.config, (3 * side) ** 2) == 9
    assert passes.read_image(vlm, 2, 64**2, 8).flops > passes.write_tokens(vlm, 2, 8).flops > 0
    assert passes.judge_images(meta_models.judge_clip(params.judges), 2).flops > 0
