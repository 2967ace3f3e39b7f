"""Distillation: what the recorded trajectories are, that the gates learn them, and that files keep them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.fusion import store as fusion
from autolora.fusion.flow_matching import NoisedBatch, predict_velocity
from autolora.fusion.install import fused
from autolora.fusion.training import fit, held_out_loss
from autolora.params import FusionParams
from studies.gates.distillation import IMAGES_PER_SET, Distillation, draw
from studies.paper.rules.velocity import FACTOR
from tests.support.gate_training import (
    EXAMPLES,
    LORAS,
    SIGMAS,
    encode_texts,
    fusion_params,
    latents_of,
    training_set,
)
from tests.support.tiny_flux import CONFIG, build_pipeline

STEPS = SIGMAS[::10]
TRAJECTORIES = 8
PARAMS = replace(
    fusion_params(single_share=0.0, global_rank=0, init_bias=0.0, learning_rate=0.05),
    relevance_noise=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def pipeline() -> Any:
    pipeline = build_pipeline()
    pipeline.transformer.requires_grad_(False)
    return pipeline


def distillation(pipeline: Any, params: FusionParams, folder: Path) -> Distillation:
    return Distillation(pipeline, training_set(), STEPS, params, folder, TRAJECTORIES)


def recorded(folder: Path) -> list[dict[str, torch.Tensor]]:
    from safetensors.torch import load_file

    return [load_file(file) for file in sorted(folder.iterdir())]


def run(objective: Distillation, params: FusionParams) -> float:
    torch.manual_seed(0)
    return held_out_loss(fusion.build(CONFIG, params.variant), objective, 0)


def test_eulers_method_follows_a_straight_line_exactly() -> None:
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    latents, velocities = draw(lambda noised, sigma: noise - clean, noise, STEPS)
    assert latents.shape == velocities.shape == (2, len(STEPS), 3, 4)
    for step, sigma in enumerate(STEPS):
        torch.testing.assert_close(latents[:, step], (1 - sigma) * clean + sigma * noise)


def test_recorded_velocity_is_the_sum_of_changes(pipeline: Any, tmp_path: Path) -> None:
    objective = distillation(pipeline, PARAMS, tmp_path)
    active = objective._draw_set(0)
    stored = objective._trajectories(0)
    assert stored["velocities"].shape == (IMAGES_PER_SET, len(STEPS), *latents_of(EXAMPLES[0]).shape[1:])
    states, pooled = encode_texts(active.prompts)
    for step in (0, len(STEPS) - 1):
        latents = stored["latents"][:, step]
        sigma = STEPS[step].expand(IMAGES_PER_SET)
        batch = NoisedBatch(noised=latents, velocity=latents, sigma=sigma, states=states, pooled=pooled)

        def velocity(*sha256: str, batch: NoisedBatch = batch) -> torch.Tensor:
            with torch.no_grad(), fused(pipeline.transformer, [LORAS[name] for name in sha256]):
                return predict_velocity(pipeline.transformer, batch, PARAMS.variant.guidance)

        base, (first, second) = velocity(), (velocity(adapter.sha256) for adapter in active.adapters)
        expected = base + FACTOR * (first - base + second - base)
        torch.testing.assert_close(stored["velocities"][:, step], expected, atol=1e-5, rtol=1e-4)


def test_a_prompt_names_the_adapters_and_no_unnamed_one(pipeline: Any, tmp_path: Path) -> None:
    params = replace(PARAMS, variant=replace(PARAMS.variant, max_active=3))
    sets = [distillation(pipeline, params, tmp_path)._draw_set(number) for number in range(20)]
    assert {len(active.adapters) for active in sets} == {2, 3}
    for active in sets:
        assert active.named == 2
        names = [adapter.sha256 for adapter in active.adapters]
        for prompt in active.prompts:
            words = prompt.replace(",", "").split()
            assert [name in words for name in names] == [index < 2 for index in range(len(names))]


@pytest.mark.slow
def test_gates_learn_the_trajectories(pipeline: Any, tmp_path: Path) -> None:
    objective = distillation(pipeline, PARAMS, tmp_path)
    torch.manual_seed(0)
    gates = fusion.build(CONFIG, PARAMS.variant)
    before = held_out_loss(gates, objective, 1)
    fit(gates, objective, replace(PARAMS, steps=30), lambda *_: None)
    assert held_out_loss(gates, objective, 1) < 0.7 * before


@pytest.mark.slow
def test_trajectories_are_computed_once(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(distillation(pipeline, PARAMS, tmp_path), PARAMS)
    assert len(recorded(tmp_path)) == TRAJECTORIES // IMAGES_PER_SET
    monkeypatch.setattr(Distillation, "_compute", lambda *_: pytest.fail("computed again"))
    assert run(distillation(pipeline, PARAMS, tmp_path), PARAMS) == first


def test_one_adapter_alone_is_its_own_teacher(pipeline: Any, tmp_path: Path) -> None:
    single = replace(PARAMS, variant=replace(PARAMS.variant, single_share=1.0, init_bias=50.0))
    loss = run(
        distillation(pipeline, single, tmp_path), single
    )  # open gates: the gated adapter is its update
    assert loss == pytest.approx(0, abs=1e-8)
