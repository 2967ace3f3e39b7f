"""The headline numbers of the page in plain words, each with what it was measured on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.refresh.history import Recall, headline_recall
from autolora.report.measured import Measured

SHOWN = "both shown"
"""the metric of experiments that counts images with the themes of both adapters"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One headline number."""

    topic: str
    number: str
    label: str
    """the sentence that begins with the number"""
    note: str
    value: float
    """share that the number states"""
    low: float | None = None
    high: float | None = None
    """ends of the 95 % interval; None without one"""
    chance: float | None = None
    """share without any knowledge; None if it is not known"""


def headlines(measured: Measured) -> list[Tile]:
    """Return the headline numbers that were measured on this pool."""
    return [
        *_retrieval(measured.evaluation or {}),
        *_fusion(measured.experiments or {}),
        *_reliability(measured.reliability),
    ]


def _retrieval(evaluation: Mapping[str, Any]) -> Iterator[Tile]:
    methods = {"hybrid": "weights and captions", "encoder": "weights alone"}
    for method, words in methods.items():
        recall = headline_recall(evaluation, (method,))
        if recall:
            yield Tile(
                topic="Search",
                number=percent(recall.value),
                label=f"{RIGHT[recall.level]}, by {words}",
                note=f"{_interval(recall.low, recall.high)}{_chance(recall)}. {recall.queries} searches about "
                f"{evaluation['queried_adapters']} adapters that no model was trained on.",
                value=recall.value,
                low=recall.low,
                high=recall.high,
                chance=recall.chance,
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
        topic="Relevance of whole prompts",
        number=percent(high_right),
        label=f"of the hits that are stated to fit with {percent(high)} are right",
        note=f"Of those that are stated to fit with {percent(low)}, {percent(low_right)} are. Stated and true shares "
        f"differ by {100 * error:.0f} percentage points on average; {total:,} hits of captions that are compared "
        "with the vectors of the index. A search with a sentence encoder states another relevance, by parts.",
        value=high_right,
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
            topic="Fusion of two given adapters",
            number=percent(selected["value"]),
            label="of images show both requested themes, summed from the relevant ones of two given adapters",
            note=f"{', '.join(others)}. {_interval(selected['low'], selected['high'])}, {selected['n']} images. "
            "Images for which the adapters are chosen from the whole pool are measured apart (docs/results.md).",
            **_bounds(selected),
        )


def percent(share: float) -> str:
    """Return a share as a percentage; one decimal below 10 %."""
    digits = 0 if round(share, 3) >= 0.1 or share == 0 else 1
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def _interval(low: float, high: float) -> str:
    return f"95 % interval {percent(low)} to {percent(high)}"


def _bounds(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: row[name] for name in ("value", "low", "high")}


def _chance(recall: Recall) -> str:
    return "" if recall.chance is None else f", chance {percent(recall.chance)}"
