"""docs/results.md from its template and the numbers of metrics/: `python -m bench.results`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from autolora.errors import exit_on_error
from autolora.metrics.summary import read_numbers
from autolora.storage.files import read_json, write_atomic

PAGE, TEMPLATE = Path("docs", "results.md"), Path("bench", "results.md.jinja")
Table = Mapping[str, tuple[str, ...]]
"""label of a line -> names of numbers; "" for one that nothing measures"""


def levels(prefix: str) -> tuple[str, ...]:
    """Return the names of a method's R@1 at each level of the evaluation."""
    columns = ("theme", "seen_theme", "absent_theme", "named_theme", "unseen_index_theme", "adapter")
    return tuple(f"retrieval.{prefix}{column}_r_at_1_unseen" for column in columns)


def choices(way: str) -> tuple[str, ...]:
    """Return the names of what a way of choosing adapters reaches."""
    columns = (
        "composite_all",
        "composite_unnamed",
        "triple_all",
        "single_exact",
        "absent_exact",
        "none_exact",
    )
    return tuple(f"retrieval.{way}_{column}" for column in columns)


def images(way: str) -> tuple[str, ...]:
    """Return the names of what images show, by the adapters that they are drawn with."""
    return tuple(
        f"fusion.end_to_end_{way}_{name}" for name in ("prompt_similarity", "vqascore", "both_shown")
    )


def scores(method: str) -> tuple[str, ...]:
    """Return the names of a method's scores in the experiments."""
    metrics = ("pair_prompt_similarity", "both_shown", "single_prompt_similarity", "base_similarity")
    return tuple(f"fusion.{metric}_{method}" for metric in metrics)


TABLES: Mapping[str, tuple[tuple[str, ...], Table]] = {
    "retrieval": (
        ("method", "whole index", "theme in training", "theme not in training", "any named theme", "unseen index",
         "the adapter itself"),
        {
            "search": ("retrieval.theme_r_at_1_unseen", "", "", "", "", "retrieval.adapter_r_at_1_unseen"),
            "weights alone": levels("weights_"),
            "`paper`": levels("paper_"),
            "`released`": levels("released_"),
            "caption centroid": levels("caption_centroid_"),
            "plain caption centroid": levels("plain_caption_centroid_"),
            "BM25 of captions": levels("bm25_of_captions_"),
            "reciprocal rank fusion": levels("reciprocal_rank_fusion_"),
            "BM25 of metadata": levels("bm25_of_metadata_"),
            "rendering centroid": levels("rendering_centroid_"),
            "PCA of weights": levels("pca_of_weights_"),
            "popularity": levels("popularity_"),
            "chance": levels("random_"),
        },
    ),
    "selection": (
        ("method", "two things: both chosen", "adapters of others", "three things: all chosen",
         "one thing: exactly it", "its adapters absent: none chosen", "nothing: none chosen"),
        {"first three hits": choices("search"), "selection": choices("selection")},
    ),
    "images": (
        ("adapters", "prompt similarity", "VQAScore", "both shown"),
        {
            "none": images("base"),
            "first three hits, gates": images("first_hits_gates"),
            "selection": images("selection"),
            "selection, trigger words": images("selection_trigger_words"),
            "right ones": images("right_adapters"),
            "right ones, trigger words": images("right_adapters_trigger_words"),
        },
    ),
    "fusion": (
        ("method", "both requested: prompt similarity", "both requested: both shown",
         "one requested: prompt similarity", "neither requested: base similarity"),
        {method: scores(method) for method in ("base", "direct", "selected", "gated")},
    ),
}  # fmt: skip
"""name of a table in the template -> its header and lines"""


def main() -> None:
    """Write the page."""
    write_atomic(PAGE, render(Path.cwd()).encode())


def render(root: Path) -> str:
    """Return the page. Raises KeyError if a number of a table has not been measured."""
    numbers = read_numbers(root)
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
    template = environment.from_string((root / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        table=lambda name: table(name, numbers),
        value=lambda name: f"{numbers[name]['value']:.2f}",
        row=lambda name: numbers[name],
        evaluation=read_json(root / "metrics" / "evaluation.json"),
        experiments=read_json(root / "metrics" / "experiments.json"),
    )


def table(name: str, numbers: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of results in Markdown."""
    header, lines = TABLES[name]
    rows = [header, tuple("---" for _ in header)]
    rows += [
        (label, *(quote(numbers[number]) if number else "–" for number in names))
        for label, names in lines.items()
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def quote(row: Mapping[str, Any]) -> str:
    """Return a number with its interval: 0.70 [0.45, 0.90]."""
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['value']:.2f}{interval}"


if __name__ == "__main__":
    with exit_on_error():
        main()
