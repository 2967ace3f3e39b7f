"""Everything that a step of the gates' training changes."""

import logging
from dataclasses import dataclass, field

import torch
from torch import Tensor

from autolora.checkpoint import Checkpoint, Stateful
from autolora.fusion.gate import Gates

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

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the state to a file."""
        values = {name: getattr(self, name) for name in ("losses", "held_out", "best")}
        checkpoint.save(self._parts(), values | {"generator": self.generator.get_state()})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set the state to that of a file, if there is one of this training."""
        if stored := checkpoint.restore(self._parts()):
            self.generator.set_state(stored["generator"])
            self.losses[:], self.held_out[:], self.best = stored["losses"], stored["held_out"], stored["best"]
            logger.info("continuing after step %d", len(self.losses))

    def _parts(self) -> dict[str, Stateful]:
        return {"gates": self.gates, "optimizer": self.optimizer, "schedule": self.schedule}
