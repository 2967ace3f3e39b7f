"""Titles, notes and units of the charts, by the keys that lead to their tables in a report part."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChartText:
    """The text around a chart."""

    title: str
    note: str
    unit: str
    """what n counts"""
    cluster_unit: str
    """what the bootstrap resamples as a whole"""


CHARTS = {
    ("levels", "theme"): ChartText(
        "Is an adapter of the requested theme found?",
        "By the rank of the first adapter of that theme.",
        "queries",
        "adapters",
    ),
    ("levels", "named theme"): ChartText(
        "Is an adapter of a requested or named theme found?",
        "A query may name a second theme, e.g. what is drawn in a style. Adapters of any theme that the query names "
        "word by word count too, for every method and for chance.",
        "queries",
        "adapters",
    ),
    ("levels", "adapter"): ChartText(
        "Is the adapter itself found?",
        "By the rank of the adapter whose rendering the query describes. “Random within theme” is the exact "
        "expectation if the theme is right and its adapters are in a random order: captions seldom tell them apart. "
        "“PCA of weights” may exceed it, because it excludes an adapter, its anchor, that often has the right theme.",
        "queries",
        "adapters",
    ),
    ("unseen index", "theme"): ChartText(
        "Is an adapter of the requested theme found among adapters unseen in training?",
        "The index holds only adapters that the encoder was not trained on.",
        "queries",
        "adapters",
    ),
    ("unseen index", "named theme"): ChartText(
        "Is an adapter of a requested or named theme found among adapters unseen in training?",
        "The index holds only adapters that the encoder was not trained on.",
        "queries",
        "adapters",
    ),
    ("unseen index", "adapter"): ChartText(
        "Is the adapter itself found among adapters unseen in training?",
        "The index holds only adapters that the encoder was not trained on.",
        "queries",
        "adapters",
    ),
    ("unseen index", "seen theme"): ChartText(
        "… among adapters unseen in training, if the encoder was trained on the theme?",
        "The index holds only adapters that the encoder was not trained on.",
        "queries",
        "adapters",
    ),
    ("unseen index", "absent theme"): ChartText(
        "… among adapters unseen in training, if the encoder was not trained on the theme?",
        "The index holds only adapters that the encoder was not trained on.",
        "queries",
        "adapters",
    ),
    ("levels", "seen theme"): ChartText(
        "Is an adapter of the requested theme found, if the encoder was trained on that theme?",
        "Queries with a theme of which the encoder was trained on another adapter.",
        "queries",
        "adapters",
    ),
    ("levels", "absent theme"): ChartText(
        "Is an adapter of the requested theme found, if the encoder was not trained on that theme?",
        "Queries with a theme of which the encoder was trained on no adapter.",
        "queries",
        "adapters",
    ),
    ("similarity",): ChartText(
        "Does the nearest other adapter have the same theme?",
        "Share of adapters (0 to 1), averaged over themes. Bars and brackets give the 95 % interval from 2,000 "
        "bootstrap resamples of whole themes; an interval without width means that all adapters agree, not that the "
        "value is certain. Chance is another adapter drawn at random.",
        "adapters",
        "themes",
    ),
    ("scenarios", "pair"): ChartText(
        "Two adapters, both requested.",
        "Two adapters are loaded, and the prompt asks for both.",
        "images per method",
        "pairs",
    ),
    ("scenarios", "single"): ChartText(
        "One adapter, requested.",
        "One adapter is loaded, and the prompt asks for it.",
        "images per method",
        "adapters",
    ),
    ("scenarios", "unrelated"): ChartText(
        "Two adapters, neither requested.",
        "Two adapters are loaded, and the prompt asks for neither.",
        "images per method",
        "pairs",
    ),
}

METRICS = {
    "R@": "share of queries (0 to 1) with a relevant adapter among the first k results",
    "MRR": "mean of 1 / rank of the first relevant adapter (0 to 1)",
    "prompt similarity": "CLIP: cosine of image and prompt (−1 to 1)",
    "base similarity": "CLIP: cosine of the image and the base’s image from the same seed (−1 to 1)",
    "VQAScore": "judge VLM: probability that the image shows what the prompt describes (0 to 1)",
    "both shown": "classifier: share of images (0 to 1) that show the themes of both adapters",
    "neither shown": "classifier: share of images (0 to 1) that show the theme of neither adapter",
    "theme": "classifier: share of images (0 to 1) that show the adapter’s theme",
    "adapter": "CLIP: mean cosine of the image and the adapter’s own renderings (−1 to 1)",
}
"""explanation of a metric, by the beginning of its name"""


def metric_text(metric: str) -> str:
    """Return the explanation of a metric; empty for an unknown one."""
    return next((text for start, text in METRICS.items() if metric.startswith(start)), "")


def chart_text(path: Sequence[str]) -> ChartText:
    """Return the text around the chart at `path`; an unknown chart is titled by its keys."""
    keys = tuple(path)
    title = " · ".join(keys) + "." if keys else "More numbers."
    return CHARTS.get(keys) or ChartText(title, "", "values", "clusters")


def sort_key(path: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Return a sort key: charts in the order of CHARTS, then unknown ones by name."""
    keys = tuple(path)
    return (list(CHARTS).index(keys) if keys in CHARTS else len(CHARTS)), keys
