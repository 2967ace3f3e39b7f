"""The state of an unfinished training on disk, from which a later run continues with the same result."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from autolora import processes
from autolora.storage.files import replacing

STEPS_BETWEEN = 250
"""steps after which the state is written: a quarter of an hour of the gates of FLUX.1-dev, 440 MB"""

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A part of a training with a state: a model, an optimizer, a schedule."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with the state of one training."""

    path: Path
    key: str
    """hash of all that determines the training: the state of another one is ignored"""

    def save(self, parts: Mapping[str, Stateful], values: Mapping[str, Any]) -> None:
        """Write the states of the parts, and values of Python and torch, atomically; the first process does."""
        if processes.is_first():
            states = {name: part.state_dict() for name, part in parts.items()}
            with replacing(self.path) as temporary:
                torch.save({"key": self.key, "parts": states, "values": dict(values)}, temporary)

    def restore(self, parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
        """Set the parts to their states in the file and return the values; None if it is of no such training.

        A damaged file is ignored too.
        """
        if not self.path.exists():
            return None
        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many types on damaged files
            logger.warning("%s is damaged (%s): training from the first step", self.path, error)
            return None
        if stored.get("key") != self.key:
            return None
        for name, part in parts.items():
            part.load_state_dict(stored["parts"][name])
        values: dict[str, Any] = stored["values"]
        return values

    def remove(self) -> None:
        """Delete the file."""
        if processes.is_first():
            self.path.unlink(missing_ok=True)
