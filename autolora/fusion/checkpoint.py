"""The state of an unfinished training on disk, from which a later run continues with the same result."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

import torch

from autolora.fusion.gate import Gates
from autolora.storage.files import write_atomic

STEPS_BETWEEN = 250
"""steps after which the state is written: a quarter of an hour of FLUX.1-dev, 330 MB"""

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
            parts | {"key": self.key, "generator": state.generator.get_state(), "losses": state.losses},
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
        state.losses[:] = stored["losses"]
        logger.info("continuing after step %d", len(state.losses))

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
