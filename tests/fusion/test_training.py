"""Training the gates: what is trained, what the losses do, and that a seed repeats."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.checkpoint import Checkpoint
from autolora.errors import MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.training import (
    EPOCHS,
    Progress,
    begin_training,
    fit,
    held_out_loss,
    learning_rate_factor,
)
from autolora.fusion.training_state import TrainingState
from autolora.params import FusionParams
from autolora.presets import Preset
from autolora.presets.fusion import FUSION
from tests.support.gate_training import (
    EXAMPLES,
    PRESETS,
    build_transformer,
    fusion_params,
    objective_of,
    train_gates,
    training_set,
)
from tests.support.tiny_flux import CONFIG

PARAMS = fusion_params(global_rank=2)


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


@pytest.mark.slow
def test_only_the_gates_are_trained_and_a_seed_repeats(transformer: Any) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    gates, losses = train_gates(transformer, PARAMS)
    same_seed, _ = train_gates(transformer, PARAMS)
    other_seed, _ = train_gates(transformer, replace(PARAMS, seed=1))
    assert len(losses) == PARAMS.steps
    assert fusion.hash_weights(gates) == fusion.hash_weights(same_seed) != fusion.hash_weights(other_seed)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_gradient_checkpointing_gives_the_same_gates(transformer: Any, preset: Preset) -> None:
    params = fusion_params(preset, steps=3)
    plain, _ = train_gates(transformer, params)
    transformer.enable_gradient_checkpointing()
    recomputed, _ = train_gates(transformer, params)
    transformer.disable_gradient_checkpointing()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(recomputed.state_dict()[name], value, atol=1e-4, rtol=1e-4)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["best", "released"])
def test_a_killed_training_continues_with_the_same_result(
    transformer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: Preset
) -> None:
    monkeypatch.setattr("autolora.checkpoint.SECONDS_BETWEEN", 0)
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
    assert done == [6]
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
    state.restore(Checkpoint(tmp_path / "damaged.pt", "key"))
    assert "damaged.pt is damaged" in caplog.text
    state.save(Checkpoint(tmp_path / "other.pt", "another key"))
    state.losses.append(0.5)
    state.restore(Checkpoint(tmp_path / "other.pt", "key"))
    assert (state.losses, fusion.hash_weights(gates)) == ([0.5], before)
    state.restore(Checkpoint(tmp_path / "other.pt", "another key"))
    assert state.losses == []


@pytest.mark.slow
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
