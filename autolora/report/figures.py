"""What figures are called, by the keys that lead to their tables in a half of the report."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """The words around a figure."""

    title: str
    note: str
    each: str
    """what n counts"""
    whole: str
    """what is drawn as a whole by the bootstrap"""


FIGURES = {
    ("levels", "theme"): Figure(
        "The right theme.", "Rank of the first adapter of the theme asked for.", "queries", "adapters"
    ),
    ("levels", "adapter"): Figure(
        "The very adapter.",
        "Rank of the adapter that made the picture that the query describes.",
        "queries",
        "adapters",
    ),
    ("likeness",): Figure(
        "Does the nearest other adapter have the same theme?",
        "Share of adapters, mean over themes; a bar is the 95 % interval from 2000 bootstrap resamples of whole "
        "themes, and has no width where all agree, which is not certainty. Chance is a neighbor drawn at random.",
        "adapters",
        "themes",
    ),
    ("outcomes", "pairs"): Figure(
        "A pair, both asked for.",
        "Two adapters loaded, a prompt that asks for both.",
        "pictures a method",
        "pairs",
    ),
    ("outcomes", "single"): Figure(
        "One adapter, asked for.",
        "One adapter loaded, a prompt that asks for it.",
        "pictures a method",
        "adapters",
    ),
    ("outcomes", "base kept"): Figure(
        "A pair, neither asked for.",
        "Two adapters loaded, a prompt that names neither.",
        "pictures a method",
        "pairs",
    ),
}

METRICS = {
    "R@": "share of queries with a right adapter among so many first",
    "MRR": "mean of 1 / rank of the first right adapter",
    "text": "CLIP: cosine to the prompt",
    "Sim": "CLIP: mean cosine to the adapter’s own renderings",
    "like base": "CLIP: cosine to the base’s picture from the same seed",
    "VQA": "judge VLM: probability that the picture shows what the prompt says",
    "shows both": "classifier: it sees both themes",
    "shows neither": "classifier: it sees neither theme",
    "shows": "classifier: it sees the adapter’s theme",
}
"""what a metric is, by the beginning of its name; the first that fits"""


def explained(metric: str) -> str:
    """Return what a metric is; empty for an unknown one."""
    return next((words for name, words in METRICS.items() if metric.startswith(name)), "")


def captioned(path: Sequence[str]) -> Figure:
    """Return the words around the figure at `path`; an unknown one is called by its keys."""
    keys = tuple(path)
    return FIGURES.get(keys) or Figure(
        " · ".join(keys) + "." if keys else "More numbers.", "", "values", "clusters"
    )


def place(path: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Return a sort key: figures in the order of FIGURES, then unknown ones by name."""
    keys = tuple(path)
    return (list(FIGURES).index(keys) if keys in FIGURES else len(FIGURES)), keys
