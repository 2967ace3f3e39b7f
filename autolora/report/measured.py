"""The numbers that were measured on this pool; those of another pool, or of an earlier state of it, are left out."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.evaluation import store as evaluation_store
from autolora.experiments import store as experiments_store
from autolora.stages import STAGES
from autolora.storage.files import read_json
from autolora.storage.incremental import digest_path

SHORT_DIGEST = 12

Part = dict[str, Any]
"""the report part of a stage"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured on this pool."""

    evaluation: Part | None
    experiments: Part | None
    reliability: tuple[tuple[float, float, int], ...]
    """(mean stated relevance, share of right hits, number of hits) of each tenth of the range"""
    left_out: tuple[str, ...]
    """phrases on report parts that belong to another state of the pool"""


def read_measured(root: Path) -> Measured:
    """Return the numbers whose inputs have the digests that the stages have now."""
    current = {stage: digest["sha256"] for stage, digest in read_digests(root).items()}
    parts = {
        "evaluation": evaluation_store.read_report(root),
        "experiments": experiments_store.read_report(root),
    }
    outdated = {name: _changed_inputs(part, current) for name, part in parts.items() if part}
    kept = {name: part for name, part in parts.items() if part and not outdated[name]}
    return Measured(
        evaluation=kept.get("evaluation"),
        experiments=kept.get("experiments"),
        reliability=_reliability(root) if kept.get("evaluation") else (),
        left_out=tuple(
            f"The numbers of {name} are left out, because they were measured with {' and '.join(inputs)}: run "
            f"`dvc repro {name}`."
            for name, inputs in outdated.items()
            if inputs
        ),
    )


def read_digests(root: Path) -> dict[str, dict[str, Any]]:
    """Return stage -> the content of its digest, for the stages that have run."""
    digests = {stage: read_json(digest_path(root, stage)) for stage in STAGES}
    return {stage: digest for stage, digest in digests.items() if digest}


def _changed_inputs(part: Part, current: Mapping[str, str]) -> list[str]:
    """Return phrases on the stages whose digest was another one when a report part was measured."""
    inputs = {stage: sha256 for stage, sha256 in part["inputs"].items() if stage in STAGES}
    return [
        f"another state of {stage} ({sha256[:SHORT_DIGEST]}, now {current.get(stage, 'missing')[:SHORT_DIGEST]})"
        for stage, sha256 in inputs.items()
        if sha256 != current.get(stage)
    ]


def _reliability(root: Path) -> tuple[tuple[float, float, int], ...]:
    """Return the rows of metrics/plots/reliability.csv, which the evaluation writes; none if it does not exist."""
    path = root / "metrics" / "plots" / "reliability.csv"
    if not path.is_file():
        return ()
    with path.open(newline="") as stream:
        return tuple(
            (float(row["stated"]), float(row["right"]), int(row["hits"])) for row in csv.DictReader(stream)
        )
