"""Trainings by several processes, started the real way: as one process alone, resumable, and with clear errors."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from autolora import processes
from autolora.checkpoint import Checkpoint
from autolora.encoder import contrastive
from autolora.encoder import stage as encoder_stage
from autolora.encoder import store as encoder_store
from autolora.errors import MissingArtifact, OutOfMemory, ParamsError
from autolora.fusion import store as fusion
from autolora.fusion import training
from autolora.models import ClipTextEncoder
from autolora.params import EncoderParams, FusionParams
from autolora.processes import launch
from autolora.storage.arrays import Float32Array
from tests.support.gate_training import EXAMPLES, build_transformer, fusion_params, objective_of
from tests.support.synthetic_repo import (
    BOUNDS,
    CONFIG,
    encoder_params,
    make_adapters,
    write_dataset,
    write_repository,
    write_weights,
)
from tests.support.tiny_flux import CONFIG as FLUX
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow
STEPS, BETWEEN, KILLED_AT = 8, 2, 5


@dataclass(frozen=True)
class Trained:
    """What a training has become."""

    losses: list[float]
    held_out: list[tuple[int, float]]
    weights: dict[str, Float32Array]


def train_gates(params: FusionParams, checkpoint: Checkpoint, killed: int | None = None) -> Trained:
    """Train gates. killed: process that dies after KILLED_AT steps."""
    training.STEPS_BETWEEN = BETWEEN
    transformer = build_transformer()
    torch.manual_seed(params.seed)
    gates = fusion.build(FLUX, params.variant)
    held_out = objective_of(transformer, params, EXAMPLES[1:])
    state = training.fit(
        gates,
        objective_of(transformer, params),
        params,
        lambda step, *_: die() if killed == processes._rank() and step == KILLED_AT else None,
        held_out,
        checkpoint,
    )
    return Trained(state.losses, state.held_out, arrays(gates))


def train_encoder(
    root: Path, text_encoder: ClipTextEncoder, params: EncoderParams, killed: int | None = None
) -> Trained:
    """Train the transformer as its stage does; `losses` are those of the steps of this run."""
    contrastive.STEPS_BETWEEN = BETWEEN
    losses = []
    for step in encoder_stage.train(root, params, CONFIG, text_encoder, BOUNDS):
        losses.append(step.values["loss"])
        if killed == processes._rank() and step.number == KILLED_AT:
            die()
    weights = arrays(encoder_store.load_encoder(encoder_store.folder(root))) if processes.is_first() else {}
    return Trained(losses, [], weights)


def arrays(module: torch.nn.Module) -> dict[str, Float32Array]:
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def together(train: Callable[[], Trained], number: int = 2) -> Trained:
    return launch(train, number, "cpu", "fusion")


def assert_close(one: Trained, other: Trained) -> None:
    """Assert that two trainings differ by rounding only."""
    assert one.losses == pytest.approx(other.losses, rel=1e-5, abs=1e-6)
    assert [loss for _, loss in one.held_out] == pytest.approx([loss for _, loss in other.held_out], rel=1e-5)
    assert one.weights.keys() == other.weights.keys() and one.weights
    for name, weights in one.weights.items():
        expected = other.weights[name]
        if name.endswith("qkv.bias"):  # that of keys changes no attention: its gradient is rounding
            weights, expected = (np.delete(bias.reshape(3, -1), 1, axis=0) for bias in (weights, expected))
        np.testing.assert_allclose(weights, expected, rtol=1e-3, atol=2e-5, err_msg=name)


def assert_equal(one: Trained, other: Trained) -> None:
    assert one.held_out == other.held_out
    for name, weights in one.weights.items():
        np.testing.assert_array_equal(weights, other.weights[name], err_msg=name)


@pytest.mark.parametrize(("preset", "number"), [("best", 2), ("best", 4), ("released", 2)])
def test_processes_train_the_gates_that_one_trains(preset: str, number: int, tmp_path: Path) -> None:
    params = replace(fusion_params(preset, steps=STEPS), validate_every=4)  # type: ignore[arg-type]
    alone = train_gates(params, Checkpoint(tmp_path / "alone.pt", "key"))
    train = partial(train_gates, params, Checkpoint(tmp_path / "together.pt", "key"))
    several = together(train, number)
    assert len(several.losses) == STEPS and len({round(loss, 3) for loss in several.losses}) > 2
    assert_close(several, alone)


def test_a_killed_process_ends_the_training_of_gates_and_a_later_one_continues(tmp_path: Path) -> None:
    params = fusion_params(steps=STEPS)
    whole = together(partial(train_gates, params, Checkpoint(tmp_path / "whole.pt", "key")))
    checkpoint = Checkpoint(tmp_path / "state.pt", "key")
    with pytest.raises(ChildFailedError):
        together(partial(train_gates, params, checkpoint, 0))
    continued = together(partial(train_gates, params, checkpoint))
    assert continued.losses == whole.losses
    assert_equal(continued, whole)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder) -> Callable[..., Trained]:
    """Return the training of the transformer in a repository."""
    root = tmp_path_factory.mktemp("repository")
    adapters = make_adapters()
    write_repository(root, adapters)
    write_weights(root, adapters)
    write_dataset(root)
    return partial(train_encoder, root, text_encoder)


@pytest.mark.parametrize(("preset", "probe"), [("paper", "full"), ("released", "sketch")])
def test_processes_train_the_transformer_that_one_trains(
    train: Callable[..., Trained], preset: str, probe: str
) -> None:
    params = encoder_params(preset, probe=probe, steps=STEPS)  # type: ignore[arg-type]
    alone = train(params)
    several = together(partial(train, params))
    assert len(several.losses) == STEPS
    assert_close(several, alone)


@pytest.mark.parametrize("preset", ["paper", "best"])  # best has noise and dropout
def test_a_killed_process_ends_the_training_of_the_transformer_and_a_later_one_continues(
    train: Callable[..., Trained], preset: str
) -> None:
    params = encoder_params(preset, model="transformer", probe="sketch", steps=STEPS)  # type: ignore[arg-type]
    whole = together(partial(train, params))
    with pytest.raises(ChildFailedError):
        together(partial(train, params, 1))
    continued = together(partial(train, params))
    first = KILLED_AT - KILLED_AT % BETWEEN
    assert continued.losses == whole.losses[first:]
    assert_equal(continued, whole)


def test_a_killed_training_of_the_transformer_continues_in_one_process_as_in_two(
    train: Callable[..., Trained],
) -> None:
    params = encoder_params("paper", probe="sketch", steps=STEPS)
    alone = train(params)
    with pytest.raises(ChildFailedError):
        together(partial(train, params, 1))
    assert_close(train(params), replace(alone, losses=alone.losses[4:]))


def fail(error: Exception, failing: int) -> None:
    if processes._rank() == failing:
        raise error
    processes.mean(torch.ones(()))  # waits for the other one


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_one_process_is_raised_and_ends_the_others(failing: int) -> None:
    with pytest.raises(MissingArtifact, match=r"^no adapters: add some$"):
        launch(partial(fail, MissingArtifact("no adapters: add some"), failing), 2, "cpu", "fusion")
    assert not [
        child for child in psutil.Process().children() if "resource_tracker" not in str(child.cmdline())
    ]


def test_a_lack_of_gpu_memory_is_named_with_the_stage() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(OutOfMemory, match="fusion needs more GPU memory"):
        launch(partial(fail, error, 1), 2, "cpu", "fusion")


def test_batches_are_shared_equally(tmp_path: Path) -> None:
    params = replace(fusion_params(), batch=3)
    with pytest.raises(ParamsError, match=r"batch of 3 is no multiple of operation.processes \(2\)"):
        together(partial(train_gates, params, Checkpoint(tmp_path / "state.pt", "key")))


def test_each_process_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParamsError, match=r"operation.processes is 2 but there are 1 GPUs"):
        launch(lambda: None, 2, "cuda", "fusion")


def wait_for_ever(marks: Path) -> None:
    (marks / str(os.getpid())).touch()
    while True:
        time.sleep(0.1)


def launch_waiting(marks: Path) -> None:
    launch(partial(wait_for_ever, marks), 2, "cpu", "fusion")


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, kind: signal.Signals) -> None:
    code = f"import pathlib; from tests.test_processes import launch_waiting as l; l(pathlib.Path({str(tmp_path)!r}))"
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 60)
    parent.send_signal(kind)
    parent.wait(60)
    wait_until(lambda: not any(psutil.pid_exists(int(mark.name)) for mark in tmp_path.iterdir()), 30)
