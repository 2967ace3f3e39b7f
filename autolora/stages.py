"""The names of the stages with a digest, in the order in which they run."""

from pathlib import Path

STAGES = (
    "pool",
    "drawings",
    "captions",
    "dataset",
    "encoder",
    "index",
    "fusion",
    "evaluation",
    "experiments",
)
AFTER_RELEASE = ("fusion", "experiments")
"""stages that no index needs: a refresh runs them when the new index is released"""


def is_pipeline(root: Path) -> bool:
    """Return whether the stages of a project are run by DVC."""
    return (root / "dvc.yaml").exists()
