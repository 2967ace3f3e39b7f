"""The names of the stages with a digest, in the order in which they run."""

STAGES = (
    "pool",
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
