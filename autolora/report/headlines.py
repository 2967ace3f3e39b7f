"""The headline numbers of the page in plain words, each with what it was measured on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.report.history import Recall, headline_recall
from autolora.report.measured import Measured, Rows

SHOWN = "both shown"
"""the metric of experiments that counts images with the themes of both adapters"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One headline number."""

    number: str
    label: str
    """the sentence that begins with the number"""
    note: str


def headlines(measured: Measured) -> list[Tile]:
    """Return the headline numbers that were measured on this pool."""
    return [
        *_retrieval(measured.evaluation or {}),
        *_selection(measured.selection),
        *_fusion(measured.experiments or {}),
        *_reliability(measured.reliability),
    ]


def _retrieval(evaluation: Mapping[str, Any]) -> Iterator[Tile]:
    methods = {"hybrid": "weights and captions", "encoder": "weights alone"}
    for method, words in methods.items():
        recall = headline_recall(evaluation, (method,))
        if recall:
            yield Tile(
                number=percent(recall.value),
                label=f"{RIGHT[recall.level]}, by {words}",
                note=f"{_interval(recall)}{_chance(recall)}. {recall.queries} searches about "
                f"{evaluation['queried_adapters']} adapters that no model was trained on.",
            )


RIGHT = {
    "theme": "of searches show an adapter of the requested theme first",
    "adapter": "of searches show the very adapter that the query describes first",
}
"""level of a recall -> the sentence about it"""


def _reliability(bins: Sequence[tuple[float, float, int]]) -> Iterator[Tile]:
    if not bins:
        return
    total = sum(hits for *_, hits in bins)
    error = sum(hits * abs(stated - right) for stated, right, hits in bins) / total
    (low, low_right, _), (high, high_right, _) = bins[0], bins[-1]
    yield Tile(
        number=percent(high_right),
        label=f"of the hits that are stated to fit with {percent(high)} are right",
        note=f"Of those that are stated to fit with {percent(low)}, {percent(low_right)} are. Stated and true shares "
        f"differ by {100 * error:.0f} percentage points on average; {total:,} hits.",
    )


def _selection(rows: Rows) -> Iterator[Tile]:
    single = rows.get("single_exact")
    if single:
        others = {
            "composite_exact": "of prompts that combine an object and a style",
            "none_exact": "of prompts that need no adapter, which then get none",
        }
        phrases = [
            f"{percent(rows[name]['value'])} {words}" for name, words in others.items() if name in rows
        ]
        yield Tile(
            number=percent(single["value"]),
            label="of prompts about one theme are given exactly an adapter of that theme by generate",
            note=f"{_interval_of(single)}, {single['n']} prompts; {'; '.join(phrases)}.",
        )


def _fusion(experiments: Mapping[str, Any]) -> Iterator[Tile]:
    methods = experiments.get("scenarios", {}).get("pair", {}).get("methods", {})
    shown = {method: row[SHOWN] for method, row in methods.items() if SHOWN in row}
    words = {
        "base": "without adapters",
        "direct": "as the plain sum of both",
        "gated": "through the gates",
    }
    selected = shown.get("selected")
    if selected:
        others = [
            f"{percent(shown[method]['value'])} {text}" for method, text in words.items() if method in shown
        ]
        yield Tile(
            number=percent(selected["value"]),
            label="of images show both requested themes, with the adapters that the retriever selects",
            note=f"{', '.join(others)}. {_interval_of(selected)}, {selected['n']} images.",
        )


def percent(share: float) -> str:
    """Return a share as a percentage; one decimal below 10 %."""
    digits = 0 if round(share, 3) >= 0.1 or share == 0 else 1
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _interval(recall: Recall) -> str:
    return f"95 % interval {percent(recall.low)} to {percent(recall.high)}"


def _interval_of(row: Mapping[str, Any]) -> str:
    return f"95 % interval {percent(row['low'])} to {percent(row['high'])}"


def _chance(recall: Recall) -> str:
    return "" if recall.chance is None else f", chance {percent(recall.chance)}"
