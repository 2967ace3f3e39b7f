"""The results of prompt cases, and those that an unfinished run keeps on disk for the next one."""

import base64
import json
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from autolora.experiments.cases import PromptCase
from autolora.experiments.scoring import Scores
from autolora.fusion.gate_means import GateMeans
from autolora.storage.files import Row, write_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExperimentResult:
    """A prompt case with its generated images and their scores."""

    case: PromptCase
    relevance: tuple[float, ...]
    """of each loaded adapter to the prompt, 0 to 1"""
    grids: dict[str, bytes]
    """method -> its images in one row, as PNG"""
    scores: dict[str, Scores]
    """method -> metric -> (seeds,), nan if the metric does not apply"""
    gate_means: GateMeans | None = None
    """of the images by `gated`"""

    def to_json(self) -> Row:
        """Return everything but the case as JSON values, exactly; nan is the only one that is not standard JSON."""
        return {
            "relevance": list(self.relevance),
            "grids": {method: base64.b64encode(grid).decode() for method, grid in self.grids.items()},
            "scores": {
                method: {metric: values.tolist() for metric, values in scores.items()}
                for method, scores in self.scores.items()
            },
            "gate_means": self.gate_means.to_json() if self.gate_means else None,
        }

    @classmethod
    def from_json(cls, case: PromptCase, row: Any) -> Self:
        """Return the result of JSON values. Raises KeyError, TypeError, ValueError or AttributeError if invalid."""
        means = row["gate_means"]
        return cls(
            case=case,
            relevance=tuple(row["relevance"]),
            grids={name: base64.b64decode(grid, validate=True) for name, grid in row["grids"].items()},
            scores={
                method: {metric: np.array(values, np.float64) for metric, values in scores.items()}
                for method, scores in row["scores"].items()
            },
            gate_means=GateMeans.from_json(means) if means else None,
        )


@dataclass(frozen=True, slots=True)
class KeptResults:
    """A folder with the results of the finished cases of a run; each file is named by the hash of what decides it."""

    folder: Path

    def keep(self, key: str, result: ExperimentResult) -> None:
        """Write the result of a case, atomically."""
        write_atomic(self._path(key), json.dumps(result.to_json()))

    def read(self, key: str, case: PromptCase) -> ExperimentResult | None:
        """Return the result of a case; None if there is none, or if its file is damaged."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return ExperimentResult.from_json(case, json.loads(path.read_bytes()))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("%s is damaged (%s): generating the images of this case again", path, error)
            return None

    def remove_others(self, keys: Collection[str]) -> None:
        """Delete the results of all other cases, and what killed writers left."""
        names = {self._path(key) for key in keys}
        for path in set(self.folder.glob("*")) - names:
            path.unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
