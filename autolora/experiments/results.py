"""The results of prompt cases, and the files in which an unfinished run keeps them for the next one."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.experiments.cases import PromptCase
from autolora.storage.files import write_atomic

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExperimentResult:
    """A prompt case with the scores of its images; everything but the case is JSON values."""

    case: PromptCase
    relevance: list[float]
    """of each loaded adapter to the prompt, 0 to 1"""
    scores: dict[str, dict[str, list[float]]]
    """method -> metric -> value for each seed, nan if the metric does not apply"""


def keep(path: Path, result: ExperimentResult) -> None:
    """Write a result, atomically."""
    row = asdict(result)
    del row["case"]
    write_atomic(path, json.dumps(row))


def read_kept(path: Path, case: PromptCase) -> ExperimentResult | None:
    """Return the kept result of a case; None if there is none, or if its file is damaged."""
    if not path.exists():
        return None
    try:
        return ExperimentResult(case=case, **json.loads(path.read_bytes()))
    except (TypeError, ValueError) as error:
        logger.warning("%s is damaged (%s): generating the images of this case again", path, error)
        return None
