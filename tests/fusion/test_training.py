"""Training the gates: what is trained, what the losses do, and that a seed repeats."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.checkpoint import Checkpoint, TrainingState
from autolora.fusion.gate import Gates
from autolora.fusion.interference import Interference
from autolora.fusion.training import (
    EPOCHS,
    Progress,
    begin_training,
    fit,
    held_out_loss,
    learning_rate_factor,
)
from autolora.fusion.training_set import CaptionedAdapter
from autolora.params import FusionParams
from autolora.presets import FUSION, Preset
from tests.support.gate_training import (
    EXAMPLES,
    SIGMAS,
    fusion_params,
    latents_of,
    objective_of,
    states_of,
    training_set,
)
from tests.support.tiny_flux import CONFIG

PARAMS = fusion_params(global_rank=2)


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


def train_gates(
    transformer: Any, params: FusionParams, examples: Sequence[CaptionedAdapter] = EXAMPLES
) -> tuple[Gates, list[float]]:
    """Return trained gates and the loss of each step."""
    torch.manual_seed(params.seed)
    gates = fusion.build(CONFIG, params.variant)
    steps: list[int] = []
    state = fit(
        gates, objective_of(transformer, params, examples), params, lambda done, *_: steps.append(done)
    )
    assert steps == list(range(1, params.steps + 1))
    return gates, state.losses


def test_only_the_gates_are_trained_and_a_seed_repeats(transformer: Any) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    gates, losses = train_gates(transformer, PARAMS)
    same_seed, _ = train_gates(transformer, PARAMS)
    other_seed, _ = train_gates(transformer, replace(PARAMS, seed=1))
    assert len(losses) == PARAMS.steps
    assert fusion.hash_weights(gates) == fusion.hash_weights(same_seed) != fusion.hash_weights(other_seed)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.parametrize("preset", FUSION)
def test_gradient_checkpointing_gives_the_same_gates(transformer: Any, preset: Preset) -> None:
    params = fusion_params(preset, steps=3)
    plain, _ = train_gates(transformer, params)
    transformer.enable_gradient_checkpointing()
    recomputed, _ = train_gates(transformer, params)
    transformer.disable_gradient_checkpointing()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(recomputed.state_dict()[name], value, atol=1e-4, rtol=1e-4)


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


def test_four_active_adapters_train_the_gates(transformer: Any) -> None:
    examples = [*EXAMPLES, replace(EXAMPLES[0], sha256="a", family="family-d")]
    params = fusion_params(steps=4, max_active=4, single_share=0.0, hinge=1.0, other_family=True)
    gates, losses = train_gates(transformer, params, examples)
    two, _ = train_gates(transformer, fusion_params(steps=4, single_share=0.0, hinge=1.0), examples)
    assert all(0 < loss < 100 for loss in losses)
    assert fusion.hash_weights(gates) != fusion.hash_weights(two)


class Scripted:
    """An objective for held-out adapters whose loss is given, per measurement."""

    def __init__(self, *losses: float) -> None:
        self.values = iter([loss for loss in losses for _ in range(16)])

    def losses(self, gates: Gates, generator: torch.Generator) -> Iterator[torch.Tensor]:
        yield torch.tensor(next(self.values))


def train_until(transformer: Any, params: FusionParams, held_out: Scripted) -> tuple[Gates, TrainingState]:
    torch.manual_seed(params.seed)
    gates = fusion.build(CONFIG, params.variant)
    objective = objective_of(transformer, params)
    state = fit(gates, objective, params, lambda *_: None, held_out)
    state.keep_best()
    return gates, state


def test_training_ends_when_the_held_out_loss_stays_higher_and_keeps_the_best_gates(transformer: Any) -> None:
    params = replace(PARAMS, steps=20, validate_every=2, patience=2)
    gates, state = train_until(transformer, params, Scripted(0.5, 0.3, 0.4, 0.6, 0.1))
    assert state.held_out == [
        (0, 0.5),
        (2, pytest.approx(0.3)),
        (4, pytest.approx(0.4)),
        (6, pytest.approx(0.6)),
    ]
    assert (state.best_step, len(state.losses)) == (2, 6)
    two_steps, _ = train_gates(transformer, replace(params, steps=2))
    assert fusion.hash_weights(gates) == fusion.hash_weights(two_steps)


def test_untrained_gates_are_kept_if_training_helps_no_unseen_adapter(transformer: Any) -> None:
    params = replace(PARAMS, steps=3, validate_every=2, patience=9)
    gates, state = train_until(transformer, params, Scripted(0.1, 0.2, 0.3))
    assert [step for step, _ in state.held_out] == [0, 2, 3]  # after the last step too
    torch.manual_seed(params.seed)
    assert state.best_step == 0
    assert fusion.hash_weights(gates) == fusion.hash_weights(fusion.build(CONFIG, params.variant))


def test_held_out_loss_changes_nothing_and_repeats(transformer: Any) -> None:
    gates, objective = fusion.build(CONFIG, PARAMS.variant), objective_of(transformer, PARAMS)
    before = fusion.hash_weights(gates)
    assert held_out_loss(gates, objective, 0) == held_out_loss(gates, objective, 0)
    assert held_out_loss(gates, objective, 0) != held_out_loss(gates, objective, 1)
    assert fusion.hash_weights(gates) == before
    assert all(parameter.grad is None for parameter in gates.parameters())


class Killed(Exception):
    """Raised instead of a kill."""


def kill_after(last: int) -> Progress:
    """Return a progress function that ends the training after a step."""

    def progress(done: int, *_: object) -> None:
        if done == last:
            raise Killed

    return progress


@pytest.mark.parametrize("preset", ["best", "released"])
def test_a_killed_training_continues_with_the_same_result(
    transformer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Preset
) -> None:
    monkeypatch.setattr("autolora.fusion.training.STEPS_BETWEEN", 2)
    params = fusion_params(preset, steps=6)
    params = replace(params, validate_every=2)
    checkpoint, done = Checkpoint(tmp_path / "state.pt", "key"), []
    objective, held_out = objective_of(transformer, params), objective_of(transformer, params, EXAMPLES[1:])

    def train(progress: Progress, checkpoint: Checkpoint | None, seed: int) -> tuple[Gates, TrainingState]:
        torch.manual_seed(seed)
        gates = fusion.build(CONFIG, params.variant)
        state = fit(gates, objective, params, progress, held_out, checkpoint)
        state.keep_best()
        return gates, state

    whole, uninterrupted = train(lambda *_: None, None, 0)
    with pytest.raises(Killed):
        train(kill_after(5), checkpoint, 0)
    other_seed = 7  # other initial gates, which the checkpoint replaces
    continued, state = train(lambda step, *_: done.append(step), checkpoint, other_seed)
    assert done == [5, 6]
    assert (state.losses, state.held_out) == (uninterrupted.losses, uninterrupted.held_out)
    assert fusion.hash_weights(continued) == fusion.hash_weights(whole)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK"])
def test_a_damaged_or_foreign_checkpoint_is_ignored(
    transformer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    params = fusion_params(steps=1)
    gates = fusion.build(CONFIG, params.variant)
    before = fusion.hash_weights(gates)
    state = begin_training(gates, params)
    (tmp_path / "damaged.pt").write_bytes(content)
    Checkpoint(tmp_path / "damaged.pt", "key").restore(state)
    assert "damaged.pt is damaged" in caplog.text
    Checkpoint(tmp_path / "other.pt", "another key").save(state)
    state.losses.append(0.5)
    Checkpoint(tmp_path / "other.pt", "key").restore(state)
    assert (state.losses, fusion.hash_weights(gates)) == ([0.5], before)
    Checkpoint(tmp_path / "other.pt", "another key").restore(state)
    assert state.losses == []


def test_gates_close_if_the_adapters_do_not_help(transformer: Any) -> None:
    # no adapter helps to predict noise, so the loss falls by closing the gates
    params = fusion_params(steps=40, relevance=False, init_bias=2.0, global_rank=2, learning_rate=0.05)
    gates, losses = train_gates(transformer, params)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert sum(gate.bias.mean().item() for gate in gates.model_dict.values()) < 2.0 * len(gates.model_dict)


def test_one_family_is_not_enough(transformer: Any) -> None:
    one_family = [replace(example, family="family") for example in EXAMPLES]
    with pytest.raises(MissingArtifact, match="two or more families"):
        training_set(one_family).require_pairs(FUSION["best"])
    train_gates(transformer, fusion_params("paper", steps=1), one_family)
    with pytest.raises(MissingArtifact, match="two or more training adapters"):
        training_set(EXAMPLES[:1]).require_pairs(FUSION["paper"])


def test_cosine_schedule_is_constant_within_an_epoch() -> None:
    steps = 4 * EPOCHS
    factors = [learning_rate_factor("cosine", step, steps) for step in range(steps)]
    assert factors[0] == factors[3] == 1.0 > factors[4]
    assert factors[-1] == pytest.approx(0.684, abs=1e-3)
    assert {learning_rate_factor("constant", step, steps) for step in range(steps)} == {1.0}
