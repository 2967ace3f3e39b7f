"""The README's numbers of results are those of metrics/summary.json and metrics/details.json.

`python -m tests.test_readme` prints the tables as the README must contain them.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from autolora.metrics.summary import read_details, read_summary

ROOT = Path(__file__).parents[1]
SECTION = "## Results on the playground"
TABLES: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    (
        "method",
        "whole index",
        "theme in training",
        "theme not in training",
        "any named theme",
        "unseen index",
        "the adapter itself",
    ): {
        label: tuple(
            f"retrieval.{prefix}{level}_r_at_1_unseen"
            for level in (
                "theme",
                "seen_theme",
                "absent_theme",
                "named_theme",
                "unseen_index_theme",
                "adapter",
            )
        )
        for label, prefix in (
            ("hybrid", "hybrid_"),
            ("weights alone", ""),
            ("`paper`", "paper_"),
            ("`released`", "released_"),
            ("transformer on sketches", "transformer_on_sketches_"),
            ("transformer on weights", "transformer_on_weights_"),
            ("caption centroid", "caption_centroid_"),
            ("plain caption centroid", "plain_caption_centroid_"),
            ("BM25 of captions", "bm25_of_captions_"),
            ("BM25 of metadata", "bm25_of_metadata_"),
            ("rendering centroid", "rendering_centroid_"),
            ("PCA of weights", "pca_of_weights_"),
            ("popularity", "popularity_"),
            ("chance", "random_"),
        )
    },
    (
        "method",
        "two things: both chosen",
        "adapters of others",
        "three things: all chosen",
        "one thing: exactly it",
        "its adapters absent: none chosen",
        "nothing: none chosen",
    ): {
        label: tuple(
            f"retrieval.{way}_{name}"
            for name in (
                "composite_all",
                "composite_unnamed",
                "triple_all",
                "single_exact",
                "absent_exact",
                "none_exact",
            )
        )
        for label, way in (("first three hits", "search"), ("selection", "selection"))
    },
    ("adapters", "prompt similarity", "VQAScore", "both shown"): {
        label: tuple(
            f"fusion.end_to_end_{way}_{name}" for name in ("prompt_similarity", "vqascore", "both_shown")
        )
        for label, way in (
            ("none", "base"),
            ("first three hits, gates", "first_hits_gates"),
            ("selection", "selection"),
            ("selection, trigger words", "selection_trigger_words"),
            ("right ones", "right_adapters"),
            ("right ones, trigger words", "right_adapters_trigger_words"),
        )
    },
    (
        "method",
        "both requested: prompt similarity",
        "both requested: both shown",
        "one requested: prompt similarity",
        "neither requested: base similarity",
    ): {
        method: tuple(
            f"fusion.{metric}_{method}"
            for metric in (
                "pair_prompt_similarity",
                "both_shown",
                "single_prompt_similarity",
                "base_similarity",
            )
        )
        for method in ("base", "direct", "selected", "gated")
    },
}
"""header -> label of a line -> names in metrics/summary.json"""


def render_table(header: tuple[str, ...]) -> str:
    """Return a table of results in Markdown."""
    summary = read_summary(ROOT)
    lines = [" | ".join(header), "|".join("---" for _ in header)]
    lines = [f"| {lines[0]} |", f"|{lines[1]}|"]
    for label, names in TABLES[header].items():
        cells = [label, *(quote(summary[name]) for name in names)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def quote(row: Mapping[str, Any]) -> str:
    """Return a row of the summary as the README shows it: 0.70 [0.45, 0.90]."""
    interval = "" if row["low"] is None else f" [{row['low']:.2f}, {row['high']:.2f}]"
    return f"{row['value']:.2f}{interval}"


def results_section() -> str:
    """Return the README's section of results."""
    text = (ROOT / "README.md").read_text()
    return text[text.index(SECTION) :].split("\n## ")[0]


@pytest.fixture(autouse=True)
def committed_catalog() -> None:
    """Skip if the working tree holds another catalog than the commit, e.g. after a refresh: its numbers differ."""
    command = ["git", "diff", "--quiet", "HEAD", "--", "data/catalog.jsonl"]
    if subprocess.run(command, cwd=ROOT).returncode:
        pytest.skip("the catalog is not the committed one")


@pytest.mark.parametrize("header", TABLES, ids=" · ".join)
def test_table_is_generated_from_the_summary(header: tuple[str, ...]) -> None:
    table = render_table(header)
    assert table in results_section(), f"paste into README.md:\n{table}"


def test_text_states_the_counts_of_the_measurements() -> None:
    details, section = read_details(ROOT), results_section()
    counts = details["python -m flows.evaluation"]
    assert (
        f"{counts['queries']} captions of {counts['queried_adapters']} adapters that the encoder was not trained on, "
        f"against an index of {counts['indexed_adapters']} adapters with {counts['themes']} themes"
    ) in section
    counts = details["python -m flows.experiments"]
    pairs, images = counts["pairs"], counts["images"]
    assert f"{pairs} pairs of an object and a style" in section
    assert f"their {2 * pairs} adapters alone, {images} images each" in section
    summary = read_summary(ROOT)
    ceiling = summary["retrieval.random_within_theme_adapter_r_at_1_unseen"]["value"]
    assert f"correct for {ceiling:.2f} of the queries" in section
    error = summary["retrieval.selection_calibration_error"]["value"]
    assert f"deviate from the shares that fit by {error:.2f} on average" in section


def test_no_other_table_of_results_has_numbers() -> None:
    generated = {line for header in TABLES for line in render_table(header).splitlines()}
    lines = [line for line in results_section().splitlines() if line.startswith("|")]
    assert not [line for line in lines if re.search(r"\d", line) and line not in generated]


if __name__ == "__main__":
    print("\n\n".join(render_table(header) for header in TABLES))
