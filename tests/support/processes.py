"""What the processes of tests/test_processes.py run; each of some sixty processes imports this module, so little."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from autolora import checkpoint, processes
from autolora.checkpoint import Checkpoint
from autolora.encoder import stage as encoder_stage
from autolora.encoder import store as encoder_store
from autolora.encoder.loss import Temperature, contrastive_loss
from autolora.fusion import store as fusion
from autolora.fusion import training
from autolora.interrupt import exit_on_interrupt
from autolora.params import EncoderParams, FusionParams, PoolParams
from autolora.storage.arrays import Float32Array
from tests.support.gate_training import EXAMPLES, build_transformer, objective_of
from tests.support.tiny_flux import CONFIG as FLUX

STEPS, KILLED_AT = 8, 5


@dataclass(frozen=True)
class Trained:
    """What a training has become."""

    losses: list[float]
    held_out: list[tuple[int, float]]
    weights: dict[str, Float32Array]


@dataclass(frozen=True)
class RandomTexts:
    """A text encoder of random features, without the libraries of CLIP."""

    width: int = 32
    digest: str = "random"

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the features (N, width), equal in all processes."""
        rows = [np.random.default_rng([*text.encode()]).standard_normal(self.width) for text in texts]
        return np.array(rows, np.float32)


def train_gates(params: FusionParams, state_file: Checkpoint, killed: int | None = None) -> Trained:
    """Train gates. killed: process that dies after KILLED_AT steps."""
    save_after_each_step()
    transformer = build_transformer()
    torch.manual_seed(params.seed)
    gates = fusion.build(FLUX, params.variant)
    held_out = objective_of(transformer, params, EXAMPLES[1:])
    state = training.fit(
        gates,
        objective_of(transformer, params),
        params,
        lambda step, *_: die() if killed == processes.rank() and step == KILLED_AT else None,
        held_out,
        state_file,
    )
    return Trained(state.losses, state.held_out, arrays(gates))


def train_encoder(
    root: Path,
    config: dict[str, int],
    bounds: PoolParams,
    params: EncoderParams,
    killed: int | None = None,
) -> Trained:
    """Train the transformer as its stage does; `losses` are those of the steps of this run."""
    save_after_each_step()
    losses = []
    for step in encoder_stage.train(root, params, config, RandomTexts(), bounds):
        losses.append(step.values["loss"])
        if killed == processes.rank() and step.number == KILLED_AT:
            die()
    weights = arrays(encoder_store.load_encoder(encoder_store.folder(root))) if processes.is_first() else {}
    return Trained(losses, [], weights)


def save_after_each_step() -> None:
    if processes.number() > 1:  # else a fixture does it, and restores the interval
        checkpoint.SECONDS_BETWEEN = 0.0


def arrays(module: torch.nn.Module) -> dict[str, Float32Array]:
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail(error: Exception, failing: int) -> None:
    if processes.rank() == failing:
        raise error
    processes.mean(torch.ones(()))  # waits for the other one


def gradients_of_gates(params: FusionParams) -> list[Float32Array]:
    """Return the gradients of the whole batch of one step."""
    torch.manual_seed(0)
    gates = fusion.build(FLUX, params.variant)
    for loss in objective_of(build_transformer(), params).losses(gates, torch.Generator().manual_seed(0)):
        loss.backward()
    return gradients(gates)


def gradients_of_encoder() -> list[Float32Array]:
    """Return the gradients of a linear encoder and the temperature, of one step with eight adapters."""
    generator = torch.Generator().manual_seed(0)
    inputs, texts = (torch.randn(8, 5, generator=generator) for _ in range(2))
    torch.manual_seed(0)
    model = torch.nn.ModuleList([torch.nn.Linear(5, 5), Temperature(0.5)])
    rows = processes.gather(torch.nn.functional.normalize(model[0](inputs[processes.part(8)]), dim=-1))
    contrastive_loss(texts, rows, model[1]()).backward()
    return gradients(model)


def gradients(module: torch.nn.Module) -> list[Float32Array]:
    if processes.number() > 1:
        processes.MESSAGE = 12  # less than one weight of the encoder, and more than its bias and temperature
    processes.average_gradients(module.parameters())
    return [weight.grad.numpy().copy() for weight in module.parameters() if weight.grad is not None]


def wait_for_the_other(marks: Path) -> None:
    (marks / str(os.getpid())).touch()
    if processes.rank():
        time.sleep(600)
    processes.mean(torch.ones(()))


def launch_waiting(marks: str) -> None:
    exit_on_interrupt("interrupted")
    processes.launch(partial(wait_for_the_other, Path(marks)), 2, "cpu", "fusion")
