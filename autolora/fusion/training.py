"""Training of the gates, the base model and the adapters frozen: any objective, early stopping, and continuation."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from autolora import processes
from autolora.checkpoint import Checkpoint
from autolora.fusion.gate import Gates
from autolora.fusion.training_state import TrainingState
from autolora.params import FusionParams
from autolora.presets.fusion import Schedule

COSINE_EPOCHS, EPOCHS = 50, 20
"""the released code's cosine would reach zero after 50 epochs, of which it trains 20"""
HELD_OUT_DRAWS = 16
"""steps whose mean loss is the held-out loss, always the same ones"""

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, float], None]
"""called with the number of finished steps, of all steps, and the loss of the last step"""


class TrainingLoss(Protocol):
    """What a training lowers."""

    def losses(self, gates: Gates, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the terms of the loss of one random step, each while its adapters act on the transformer.

        The caller runs a term backward before it asks for the next: gradient checkpointing calls the adapters again.
        With several processes, a term is that of the whole batch, and its gradient that of this process's part.
        """


def fit(
    gates: Gates,
    objective: TrainingLoss,
    params: FusionParams,
    progress: Progress,
    held_out: TrainingLoss | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainingState:
    """Train the gates in place and return the last state, whose `keep_best` takes back what did not help.

    held_out: the objective on adapters that are not trained on. Its loss is measured before the first step and every
    `validate_every` steps, and the training ends if it has not become lower for `patience` measurements. None trains
    all steps, as does `validate_every` of None.
    checkpoint: from which a killed training continues.
    The seed determines the weights on one kind of CPU. Processes train together (`autolora.processes`).
    """
    state = begin_training(gates, params)
    if checkpoint:
        state.restore(checkpoint)
    processes.check_equal(len(state.losses), "the step after which the training continues")
    while True:
        step = len(state.losses)
        if held_out and _is_measured(step, params):
            loss = held_out_loss(gates, held_out, params.seed)
            logger.info("held-out loss after %d steps: %.4f", step, loss)
            state.record_held_out(step, loss)
        if step == params.steps or (held_out and state.measurements_since_best >= params.patience):
            return state
        _take_step(state, objective)
        if checkpoint and checkpoint.is_due():
            state.save(checkpoint)
        progress(step + 1, params.steps, state.losses[-1])


def begin_training(gates: Gates, params: FusionParams) -> TrainingState:
    """Return the state before the first step."""
    variant = params.variant
    # fused=True needs one kernel per tensor instead of ten, and the gates are thousands of small tensors
    optimizer = torch.optim.AdamW(
        gates.parameters(), lr=variant.learning_rate, weight_decay=variant.weight_decay, fused=True
    )
    return TrainingState(
        gates=gates,
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(variant.schedule, step, params.steps)
        ),
        generator=torch.Generator().manual_seed(params.seed),
    )


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0, relative to the variant's.

    `cosine` is the released code's cosine annealing: constant within each of EPOCHS epochs, and still at 0.68 of the
    initial rate in the last one, as its period is longer than the training.
    """
    if schedule == "constant":
        return 1.0
    epoch = step * EPOCHS // steps
    return (1 + math.cos(math.pi * epoch / COSINE_EPOCHS)) / 2


@torch.no_grad()
def held_out_loss(gates: Gates, objective: TrainingLoss, seed: int) -> float:
    """Return the mean loss of HELD_OUT_DRAWS random steps, which depend on the seed only."""
    generator = torch.Generator().manual_seed(seed)
    draws = range(HELD_OUT_DRAWS)
    return sum(loss.item() for _ in draws for loss in objective.losses(gates, generator)) / len(draws)


def _is_measured(step: int, params: FusionParams) -> bool:
    """Return whether the held-out loss is measured after a number of steps."""
    every = params.validate_every
    return every is not None and (step % every == 0 or step == params.steps)


def _take_step(state: TrainingState, objective: TrainingLoss) -> None:
    """Change the gates by one step, and record its loss."""
    state.optimizer.zero_grad()
    total = 0.0
    for loss in objective.losses(state.gates, state.generator):
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        total += loss.item()
    processes.average_gradients(state.gates.parameters())
    state.optimizer.step()
    state.schedule.step()
    state.losses.append(total)
