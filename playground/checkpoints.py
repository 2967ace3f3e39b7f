"""Checkpoints of a training, from which it continues with the same numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from autolora.checkpoint import Stateful


@dataclass(frozen=True)
class Checkpoint:
    """The file with the state of a training's parts and of its random generator."""

    path: Path
    recipe: str
    """what is trained; a checkpoint of another recipe is not continued"""
    parts: Mapping[str, Stateful]
    generator: torch.Generator

    def save(self, step: int, loss: float) -> None:
        """Write the state after `step` steps; the file is replaced at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self.parts.items()}
        content = {
            "recipe": self.recipe,
            "step": step,
            "loss": loss,
            "generator": self.generator.get_state(),
            **state,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(content, partial)
        os.replace(partial, self.path)

    def load(self) -> tuple[int, float]:
        """Restore the state and return the number of steps done and the mean loss; (0, 0.0) without a checkpoint."""
        if not self.path.exists():
            return 0, 0.0
        content = torch.load(self.path, weights_only=True)
        if content["recipe"] != self.recipe:
            raise SystemExit(
                f"{self.path} is a checkpoint of another training ({content['recipe']}), expected {self.recipe}: "
                "finish that training, or remove the file"
            )
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        self.generator.set_state(content["generator"])
        return content["step"], content["loss"]
