"""The state of an unfinished training on disk, from which a later run continues with the same result."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from autolora.fusion.gate import Gates
from autolora.storage.files import write_atomic

STEPS_BETWEEN = 250
"""steps after which the state is written: a quarter of an hour of FLUX.1-dev, 440 MB"""

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True, eq=False)
class TrainingState:
    """Everything that a training step changes."""

    gates: Gates
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    losses: list[float] = field(default_factory=list)
    """of the finished steps"""
    held_out: list[tuple[int, float]] = field(default_factory=list)
    """number of finished steps, and the held-out loss of the gates then"""
    best: dict[str, Tensor] | None = None
    """tensors of the gates with the lowest held-out loss; None before it is measured"""

    def record_held_out(self, step: int, loss: float) -> None:
        """Add a measurement of the held-out loss; keep the gates if it is the lowest."""
        if all(loss < other for _, other in self.held_out):
            self.best = {name: tensor.clone() for name, tensor in self.gates.state_dict().items()}
        self.held_out.append((step, loss))

    def keep_best(self) -> None:
        """Set the gates to those with the lowest held-out loss, if it was measured."""
        if self.best is not None:
            self.gates.load_state_dict(self.best)

    @property
    def best_step(self) -> int:
        """Number of steps after which the gates are kept: those with the lowest held-out loss, or the last."""
        if not self.held_out:
            return len(self.losses)
        return min(self.held_out, key=lambda measured: measured[1])[0]

    @property
    def measurements_since_best(self) -> int:
        """Number of measurements after that of the lowest held-out loss."""
        return sum(step > self.best_step for step, _ in self.held_out)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with the state of one training."""

    path: Path
    key: str
    """hash of all that determines the training: the state of another one is ignored"""

    def save(self, state: TrainingState) -> None:
        """Write the state, atomically."""
        content = io.BytesIO()
        parts = {name: getattr(state, name).state_dict() for name in ("gates", "optimizer", "schedule")}
        torch.save(
            parts
            | {name: getattr(state, name) for name in ("losses", "held_out", "best")}
            | {"key": self.key, "generator": state.generator.get_state()},
            content,
        )
        write_atomic(self.path, content.getvalue())

    def restore(self, state: TrainingState) -> None:
        """Set the state to that of the file, if there is one of this training; a damaged file is ignored."""
        if not self.path.exists():
            return
        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types on damaged files
            logger.warning("%s is damaged (%s): training from the first step", self.path, error)
            return
        if stored.get("key") != self.key:
            return
        for name in ("gates", "optimizer", "schedule"):
            getattr(state, name).load_state_dict(stored[name])
        state.generator.set_state(stored["generator"])
        state.losses[:], state.held_out[:] = stored["losses"], stored["held_out"]
        state.best = stored["best"]
        logger.info("continuing after step %d", len(state.losses))

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
