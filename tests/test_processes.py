"""Trainings by several processes, started the real way: as one process alone, resumable, and with clear errors."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from autolora import checkpoint, interrupt, processes
from autolora.checkpoint import Checkpoint
from autolora.encoder import contrastive
from autolora.errors import AutoLoraError, MissingArtifact, OutOfMemory, ParamsError
from autolora.presets.encoder import ENCODER
from autolora.processes import launch
from autolora.storage.arrays import Float32Array
from tests.support.gate_training import fusion_params
from tests.support.processes import (
    KILLED_AT,
    STEPS,
    Trained,
    fail,
    gradients_of_encoder,
    gradients_of_gates,
    train_encoder,
    train_gates,
)
from tests.support.synthetic_repo import (
    BOUNDS,
    CONFIG,
    encoder_params,
    make_adapters,
    write_dataset,
    write_repository,
    write_weights,
)
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)


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
    assert one.held_out == other.held_out and one.weights
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
    state = Checkpoint(tmp_path / "state.pt", "key")
    with pytest.raises(
        AutoLoraError, match=r"a process of the stage fusion ended: Signal 9 .*The next run continues"
    ):
        together(partial(train_gates, params, state, 0))
    assert len(torch.load(state.path)["values"]["losses"]) == KILLED_AT
    continued = together(partial(train_gates, params, state))
    assert continued.losses == whole.losses
    assert_equal(continued, whole)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Return the training of the transformer in a repository."""
    root = tmp_path_factory.mktemp("repository")
    adapters = make_adapters()
    write_repository(root, adapters)
    write_weights(root, adapters)
    write_dataset(root)
    return partial(train_encoder, root, CONFIG, BOUNDS)


@pytest.mark.parametrize(("preset", "probe"), [("paper", "full"), ("released", "sketch")])
def test_processes_train_the_transformer_that_one_trains(
    train: Callable[..., Trained], preset: str, probe: str
) -> None:
    params = encoder_params(preset, probe=probe, steps=STEPS)  # type: ignore[arg-type]
    alone = train(params)
    several = together(partial(train, params))
    assert len(several.losses) == STEPS
    assert_close(several, alone)


def test_a_killed_process_ends_the_training_of_the_transformer_and_a_later_one_continues(
    train: Callable[..., Trained],
) -> None:
    params = encoder_params("paper", probe="sketch", steps=STEPS)
    whole = together(partial(train, params))
    with pytest.raises(AutoLoraError, match="Signal 9"):
        together(partial(train, params, 1))
    continued = together(partial(train, params))
    assert len(continued.losses) <= STEPS - KILLED_AT + 1, (
        "the first process may not have saved the last step"
    )
    assert continued.losses == whole.losses[-len(continued.losses) :]
    assert_equal(continued, whole)


def test_a_killed_training_of_the_transformer_continues_in_one_process_as_in_two(
    train: Callable[..., Trained],
) -> None:
    params = encoder_params("paper", probe="sketch", steps=STEPS)
    alone = train(params)
    with pytest.raises(AutoLoraError, match="Signal 9"):
        together(partial(train, params, 1))
    continued = train(params)
    assert len(continued.losses) <= STEPS - KILLED_AT + 1
    assert_close(continued, replace(alone, losses=alone.losses[-len(continued.losses) :]))


@pytest.mark.parametrize("failing", [pytest.param(0, marks=pytest.mark.core), 1])
def test_an_error_of_one_process_is_raised_and_ends_the_others(failing: int) -> None:
    with pytest.raises(MissingArtifact, match=r"^no adapters: add some$"):
        launch(partial(fail, MissingArtifact("no adapters: add some"), failing), 2, "cpu", "fusion")
    assert not [child for child in psutil.Process().children() if "spawn_main" in str(child.cmdline())]


def test_a_lack_of_gpu_memory_is_named_with_the_stage() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(OutOfMemory, match="fusion needs more GPU memory"):
        launch(partial(fail, error, 1), 2, "cpu", "fusion")


def test_batches_are_shared_equally(tmp_path: Path) -> None:
    params = replace(fusion_params(), batch=3)
    with pytest.raises(
        ParamsError, match=r"batch of 3 cannot be divided among 2 processes \(operation\.processes\)"
    ):
        together(partial(train_gates, params, Checkpoint(tmp_path / "state.pt", "key")))


def test_each_process_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParamsError, match=r"operation\.processes is 2 .* finds 1 GPU: lower it"):
        launch(lambda: None, 2, "cuda", "fusion")
    with pytest.raises(ParamsError, match="must be cpu or cuda, but it is 'cuda:1'"):
        launch(lambda: None, 2, "cuda:1", "fusion")


def test_a_step_has_as_many_adapters_as_the_processes_can_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "number", lambda: 4)
    variant = replace(ENCODER["paper"], batch=16)
    assert [contrastive._batch_size(variant, adapters) for adapters in (4, 11, 16, 99)] == [4, 8, 16, 16]
    with pytest.raises(MissingArtifact, match="3 training adapters cannot be divided among 4 processes"):
        contrastive._batch_size(variant, 3)


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize(
    "compute",
    [
        partial(gradients_of_gates, fusion_params("best", single_share=0.0)),
        partial(gradients_of_gates, fusion_params("released", hinge=9.0)),
        gradients_of_encoder,
    ],
    ids=["gates", "gates with a hinge", "encoder"],
)
def test_gradients_are_those_of_the_whole_batch(
    compute: Callable[[], list[Float32Array]], number: int
) -> None:
    """An optimizer such as AdamW would hide a wrong scale of gradients from the other tests."""
    alone = compute()
    several = launch(compute, number, "cpu", "fusion")
    assert len(several) == len(alone) and max(float(np.abs(gradient).max()) for gradient in alone) > 1e-3
    for one, other in zip(several, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 1), (signal.SIGINT, interrupt.STATUS)]
)
def test_no_process_outlives_the_one_that_started_it(
    tmp_path: Path, kind: signal.Signals, status: int
) -> None:
    code = "import sys; from tests.support.processes import launch_waiting; launch_waiting(sys.argv[1])"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 60)
    time.sleep(1)  # until the first one waits
    parent.send_signal(kind)
    assert parent.wait(60) == status
    wait_until(lambda: not any(psutil.pid_exists(int(mark.name)) for mark in tmp_path.iterdir()), 30)
