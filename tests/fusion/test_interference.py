"""The loss of Eq. 10: which adapters, images and captions a step takes, and the released code's additions."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.fusion import store as fusion
from autolora.fusion.interference import Interference
from autolora.fusion.training import fit
from autolora.fusion.training_set import CaptionedAdapter
from autolora.presets.fusion import FUSION
from tests.support.gate_training import (
    EXAMPLES,
    SIGMAS,
    build_transformer,
    fusion_params,
    latents_of,
    states_of,
    train_gates,
    training_set,
)
from tests.support.tiny_flux import CONFIG


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


@pytest.mark.parametrize(
    "override", [{"hinge": 9.0}, {"caption_dropout": 1.0}], ids=lambda override: next(iter(override))
)
def test_hinge_and_caption_dropout_change_the_gates(transformer: Any, override: dict[str, float]) -> None:
    plain, losses = train_gates(transformer, fusion_params(steps=2, single_share=0.0))
    other, other_losses = train_gates(transformer, fusion_params(steps=2, single_share=0.0, **override))
    assert fusion.hash_weights(plain) != fusion.hash_weights(other)
    assert ("hinge" in override) == (other_losses[0] > losses[0] + 1)


def test_hinge_uses_the_targets_image_with_the_other_adapters_caption(
    transformer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []

    def record(_: Any, batch: Any) -> torch.Tensor:
        clean = batch.noised - batch.sigma[:, None, None] * batch.velocity  # x_t = x0 + σ (ε - x0)
        batches.append((clean, batch.states))
        return torch.zeros((), requires_grad=True)

    monkeypatch.setattr(Interference, "_error", record)
    train_gates(transformer, fusion_params("released", steps=1, caption_dropout=0.0))
    (image, caption), (hinge_image, hinge_caption) = batches
    torch.testing.assert_close(hinge_image, image)
    (owner,) = [example for example in EXAMPLES if has_caption(example, caption[0])]
    assert not has_caption(owner, hinge_caption[0])


def has_caption(example: CaptionedAdapter, states: torch.Tensor) -> bool:
    return any(torch.equal(states_of(text)[0], states) for _, text in example.captions)


def test_an_adapter_is_encoded_only_when_a_step_needs_it(transformer: Any) -> None:
    encoded: list[str] = []

    def encode(example: CaptionedAdapter) -> torch.Tensor:
        encoded.append(example.sha256)
        return latents_of(example)

    params = fusion_params(steps=2, single_share=0.0)
    many = [replace(EXAMPLES[0], sha256=name, family=name) for name in "abc" for _ in range(1000)]
    objective = Interference(transformer, replace(training_set(many), encode_images=encode), SIGMAS, params)
    fit(fusion.build(CONFIG, params.variant), objective, params, lambda *_: None)
    assert len(encoded) == params.steps


@pytest.mark.parametrize("max_active", [2, 3])
def test_number_of_active_adapters_is_drawn_up_to_its_maximum(max_active: int) -> None:
    generator = torch.Generator().manual_seed(0)
    variant = replace(FUSION["paper"], max_active=max_active)
    draws = [training_set().sample(variant, generator) for _ in range(50)]
    assert {len(draw) for draw in draws} == set(range(2, max_active + 1))
    assert all(len({adapter.sha256 for adapter in draw}) == len(draw) for draw in draws)


@pytest.mark.slow
def test_four_active_adapters_train_the_gates(transformer: Any) -> None:
    examples = [*EXAMPLES, replace(EXAMPLES[0], sha256="a", family="family-d")]
    params = fusion_params(steps=4, max_active=4, single_share=0.0, hinge=1.0, other_family=True)
    gates, losses = train_gates(transformer, params, examples)
    two, _ = train_gates(transformer, fusion_params(steps=4, single_share=0.0, hinge=1.0), examples)
    assert all(0 < loss < 100 for loss in losses)
    assert fusion.hash_weights(gates) != fusion.hash_weights(two)
