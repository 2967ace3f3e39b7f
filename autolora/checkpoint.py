"""The state of an unfinished training on disk, from which a later run continues with the same result."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from autolora import processes
from autolora.storage.files import remove_leftovers, replacing

SECONDS_BETWEEN = 600.0
"""after which the state is written again: 440 MB of the gates of FLUX.1-dev, 28 GB of the paper's encoder"""
FORMAT = 2
"""of the file; another one is ignored"""

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """A part of a training with a state: a model, an optimizer, a schedule."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> object: ...


@dataclass(slots=True, eq=False)
class Checkpoint:
    """A file with the state of one training, which the first of several processes writes."""

    path: Path
    key: str
    """hash of all that determines the training: the state of another one is ignored"""
    saved_at: float = field(default_factory=time.monotonic)
    """when the state was written last, or the training began"""

    def is_due(self) -> bool:
        """Return whether the state should be written again, by this process."""
        return processes.is_first() and time.monotonic() - self.saved_at >= SECONDS_BETWEEN

    def save(self, parts: Mapping[str, Stateful], values: Mapping[str, Any]) -> None:
        """Write the states of the parts, and values of Python and torch, atomically."""
        states = {name: part.state_dict() for name, part in parts.items()}
        remove_leftovers(self.path)
        with replacing(self.path) as temporary:
            content = {"format": FORMAT, "key": self.key, "parts": states, "values": dict(values)}
            torch.save(content, temporary)
        self.saved_at = time.monotonic()

    def restore(self, parts: Mapping[str, Stateful]) -> dict[str, Any] | None:
        """Set the parts to their states in the file and return the values; None if it is of no such training.

        A damaged file is ignored too. Raises OSError if it cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, MemoryError):  # which say nothing about the file, and may come in one process alone
            raise
        except Exception as error:  # torch raises many types on damaged files
            logger.warning("%s is damaged (%s): training from the first step", self.path, error)
            return None
        if (stored.get("format"), stored.get("key")) != (FORMAT, self.key):
            return None
        for name, part in parts.items():
            part.load_state_dict(stored["parts"][name])
        values: dict[str, Any] = stored["values"]
        return values

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
