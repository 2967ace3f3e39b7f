"""Estimates of the sealed test that are no means over prompts: prompts that nothing fits, and mislabelled LoRAs."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from autolora.params import EvaluationParams
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array
from bench.concept_tables import quote
from bench.sealed_answers import Answer
from bench.sealed_pool import SealedPrompt
from playground.sealed.prompts import KNOWN_KIND, OTHER_GRAMMAR_KIND, UNKNOWN_KIND

FALSE_ALARMS = 0.02
"""share of rightly labelled LoRAs that may be suspected"""
NOTHING_FITS: Mapping[str, tuple[str, ...]] = {
    "nothing fits": (KNOWN_KIND, UNKNOWN_KIND),
    KNOWN_KIND: (KNOWN_KIND,),
    UNKNOWN_KIND: (UNKNOWN_KIND,),
}
"""name -> kinds of prompts that are told from those of another grammar, which something fits"""


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """By how much the captions of LoRAs agree more with the weights than an exact regression lets expect."""

    adapters: tuple[str, ...]
    """sha256 of LoRAs with captions (N,)"""
    values: Float64Array
    """(N,)"""
    threshold: float
    """below which the verdict is: captions disagree with the weights"""


def nothing_fits(
    prompts: Sequence[SealedPrompt],
    rows: Mapping[str, Sequence[Sequence[Answer]]],
    references: Mapping[str, str],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Return name -> row -> AUROC: how often a prompt that something fits has the more confident answer.

    rows: name -> answers to all prompts, one per seed. references: row -> the row that it is compared to.
    """
    tables: dict[str, Any] = {}
    for name, kinds in NOTHING_FITS.items():
        fitting = [row for row, prompt in enumerate(prompts) if prompt.kind == OTHER_GRAMMAR_KIND]
        others = [row for row, prompt in enumerate(prompts) if prompt.kind in kinds]
        if not fitting or not others:
            continue
        clusters = [[prompts[row].subject for row in part] for part in (fitting, others)]
        rng = np.random.default_rng(params.seed)
        draws = resample(clusters[0], params.bootstrap, rng), resample(clusters[1], params.bootstrap, rng)
        orders = {
            row: np.mean([_order(answers, fitting, others) for answers in seeds], axis=0)
            for row, seeds in rows.items()
        }
        for row, order in orders.items():
            if not np.isnan(order).any():
                cell = _interval(order, *draws)
                cell["n"] = len(fitting) + len(others)
                cell["seeds"] = [float(_order(answers, fitting, others).mean()) for answers in rows[row]]
                cell["difference"] = _interval(order - orders[references[row]], *draws)
                tables.setdefault(name, {})[row] = cell
    return tables


def _order(answers: Sequence[Answer], fitting: Sequence[int], others: Sequence[int]) -> Float64Array:
    """Return for each pair of a fitting prompt and another (F, O) whether the first is more confident; ties are .5."""
    confidence = np.array([answer.confidence for answer in answers])
    return above(confidence[fitting], confidence[others])


def above(high: Float64Array, low: Float64Array) -> Float64Array:
    """Return for each pair (H, L) whether the first is larger; .5 if they are equal, nan if one is undefined."""
    order = (high[:, None] > low) + (high[:, None] == low) / 2.0
    order[np.isnan(high)[:, None] | np.isnan(low)] = np.nan
    return np.asarray(order, dtype=np.float64)


def resample(clusters: Sequence[Hashable], resamples: int, rng: np.random.Generator) -> Float64Array:
    """Return how often each value (N,) is in each of `resamples` resamples of whole clusters (R, N)."""
    names = list(dict.fromkeys(clusters))
    of_value = np.array([names.index(cluster) for cluster in clusters])
    drawn = rng.integers(len(names), size=(resamples, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn]).astype(np.float64)
    return counts[:, of_value]


def _interval(order: Float64Array, first: Float64Array, second: Float64Array) -> dict[str, Any]:
    """Return the mean of pairs (H, L) with its interval. first, second: resamples (R, H) and (R, L)."""
    sums = ((first @ order) * second).sum(axis=1)
    draws = sums / (first.sum(axis=1) * second.sum(axis=1))
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"value": float(order.mean()), "low": float(low), "high": float(high)}


def mislabelled(
    rows: Mapping[str, Sequence[Margins]],
    wrong: frozenset[str],
    kept: frozenset[str],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Return row -> how well the margins tell mislabelled LoRAs (sha256 in `wrong`) from others, of those in `kept`.

    AUC; recall at FALSE_ALARMS, with the threshold that allows them; shares found and falsely suspected as shipped.
    """
    tables = {}
    for name, seeds in rows.items():
        chosen = [row for row, sha256 in enumerate(seeds[0].adapters) if sha256 in kept]
        is_wrong = np.array([seeds[0].adapters[row] in wrong for row in chosen], dtype=np.bool_)
        if is_wrong.any() and not is_wrong.all():
            values = [replace(margins, values=margins.values[chosen]) for margins in seeds]
            tables[name] = _detect(values, is_wrong, params)
    return tables


def _detect(
    seeds: Sequence[Margins], is_wrong: BoolArray, params: EvaluationParams
) -> dict[str, dict[str, float]]:
    """Return metric -> estimate of one row, the mean over seeds; intervals resample LoRAs."""
    rng, count = np.random.default_rng(params.seed), len(is_wrong)
    draws = [_detection(seeds, is_wrong, np.arange(count))]
    while len(draws) <= params.bootstrap:
        chosen = rng.integers(count, size=count)
        if is_wrong[chosen].any() and not is_wrong[chosen].all():
            draws.append(_detection(seeds, is_wrong, chosen))
    table = np.array(draws)
    low, high = np.quantile(table[1:], [0.025, 0.975], axis=0)
    counts = {"n": count, "mislabelled": int(is_wrong.sum())}
    return {
        name: {"value": float(table[0, i]), "low": float(low[i]), "high": float(high[i]), **counts}
        for i, name in enumerate(DETECTION)
    }


DETECTION = ("AUC", "recall at 2 % false alarms", "found", "false alarms")


def _detection(seeds: Sequence[Margins], is_wrong: BoolArray, chosen: Int64Array) -> Float64Array:
    """Return the values of DETECTION for the chosen LoRAs, the mean over seeds."""
    rows = []
    for margins in seeds:
        values = margins.values[chosen]
        right, wrong = values[~is_wrong[chosen]], values[is_wrong[chosen]]
        allowed = np.sort(right)[int(FALSE_ALARMS * len(right))]
        shares = [
            (wrong < allowed).mean(),
            (wrong < margins.threshold).mean(),
            (right < margins.threshold).mean(),
        ]
        rows.append([above(right, wrong).mean(), *shares])
    mean: Float64Array = np.mean(rows, axis=0)
    return mean


def to_markdown(tables: Mapping[str, Any]) -> str:
    """Return the tables as Markdown: R@1 and selections by set of prompts, prompts that nothing fits, and labels."""
    sections = []
    for index, levels in tables["retrieval"].items():
        for metric in dict.fromkeys(
            metric for rows in levels.values() for row in rows.values() for metric in row
        ):
            title = f"{index}, {metric}"
            columns = {
                level: {name: row.get(metric) for name, row in rows.items()} for level, rows in levels.items()
            }
            sections.append(_section(title, columns))
    sections.append(_section("prompts that nothing fits, AUROC", tables["nothing fits"]))
    for group, rows in tables["mislabelled"].items():
        columns = {metric: {name: row[metric] for name, row in rows.items()} for metric in DETECTION}
        sections.append(_section(f"mislabelled LoRAs, {group}", columns))
    return "\n\n".join(sections)


def _section(title: str, columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table with a row per method: value with interval, and the difference to the row without gradients."""
    shown = {name: cells for name, cells in columns.items() if any(cells.values())}
    counts = {name: max(cell["n"] for cell in cells.values() if cell) for name, cells in shown.items()}
    header = ["row", *(f"{name} (n = {counts[name]})" for name in shown)]
    lines = [f"## {title}", "", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in dict.fromkeys(row for cells in shown.values() for row, cell in cells.items() if cell):
        cells = " | ".join(_quote(cells.get(row)) for cells in shown.values())
        lines.append(f"| {row} | {cells} |")
    return "\n".join(lines)


def _quote(cell: Mapping[str, Any] | None) -> str:
    """Return an estimate, with its difference if that is not to itself."""
    if not cell or not any((difference := cell.get("difference", {})).values()):
        return quote(cell or None)
    return f"{quote(cell)}, {quote(difference, sign='+')}"
