"""The names of the stages with a digest, in the order in which they run."""

STAGES = (
    "pool",
    "captions",
    "dataset",
    "concepts",
    "encoder",
    "index",
    "fusion",
    "evaluation",
    "experiments",
)
