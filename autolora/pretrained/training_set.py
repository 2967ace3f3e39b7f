"""What a model was trained on, as its model card states it."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from autolora.dataset import store as dataset

UNKNOWN = "unknown"
"""license of an adapter whose hub states none, or that has been withdrawn since"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """The adapters that a model has learned from."""

    adapters: int
    families: int
    train_until: str | None
    """last day on which they were first seen; None if the model was imported"""
    licenses: dict[str, int]
    """license -> number of adapters"""


def read_training_set(root: Path) -> TrainingSet:
    """Return the training set of a project's models, from its training lock.

    Raises MissingArtifact if the stage `dataset` has not run.
    """
    lock = dataset.training_lock(root)
    train = lock.in_split("train")
    licenses = {
        row["sha256"]: row["license"] for row in dataset.rows(root, "adapters", ("sha256", "license"))
    }
    counts = Counter(licenses.get(row.sha256) or UNKNOWN for row in train)
    return TrainingSet(
        adapters=len(train),
        families=len({row.family for row in train}),
        train_until=lock.train_until.isoformat() if lock.train_until else None,
        licenses=dict(sorted(counts.items())),
    )
