"""What a model was trained on, as its model card states it."""

from collections import Counter
from pathlib import Path

from autolora.dataset import store as dataset
from autolora.pretrained.config import TrainingSet
from autolora.storage.incremental import read_digest

UNKNOWN = "unknown"
"""license of an adapter whose hub does not state one, or that has been withdrawn since"""


def read_training_set(root: Path, stage: str) -> TrainingSet:
    """Return the training set of the model of a stage, from the project's training lock; an empty one if the model was
    imported.

    Raises MissingArtifact if that stage, or `dataset`, has not run.
    """
    if not read_digest(root, stage).get("adapters"):
        return TrainingSet(adapters=0, families=0, train_until=None, licenses={})
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
