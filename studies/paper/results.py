"""Results of an experiment: scores of all rows, and the table that summarizes them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autolora.progress import track
from autolora.storage.arrays import Float64Array
from studies.crossed_bootstrap import Groups, estimate
from studies.paper.cases import Case
from studies.paper.experiments import Cell, Experiment
from studies.paper.images import Recipe
from studies.paper.scores import Columns, Scores

TIE = 0.01
"""largest difference of two scores that counts as a tie"""


@dataclass(frozen=True, slots=True)
class CaseKey:
    """What identifies a case among those of one row."""

    adapters: tuple[str, ...]
    prompt: str
    run: int
    groups: Groups


@dataclass(frozen=True, slots=True)
class WinRate:
    """How two rows compare image by image: shares that sum to 1."""

    wins: float
    ties: float
    losses: float


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """What was measured of each row."""

    rows: Mapping[str, Mapping[CaseKey, Columns]]
    """row -> case -> scores of its images"""
    recipes: Mapping[str, Mapping[CaseKey, Recipe]]
    """row -> case -> what computes its images"""

    def by_case(self, row: str, score: str) -> dict[CaseKey, Float64Array]:
        """Return the values of a score per case; empty if the row does not have it."""
        return {key: columns[score] for key, columns in self.rows[row].items() if score in columns}

    def can_differ(self, row: str, other: str) -> bool:
        """Return whether two rows compute different images of some case."""
        return self.recipes[row] != self.recipes[other]


def key_of(case: Case) -> CaseKey:
    """Return what identifies a case among those of one row."""
    return CaseKey(case.adapters, case.prompt, case.run, case.groups)


def measure(cells: Sequence[Cell], scores: Scores, label: str) -> Results:
    """Draw and score what is not in the cache."""
    rows: dict[str, dict[CaseKey, Columns]] = {}
    recipes: dict[str, dict[CaseKey, Recipe]] = {}
    for cell in track(cells, label, len(cells), "rows of cases"):
        rows.setdefault(cell.row, {})[key_of(cell.case)] = scores.of(cell.case, cell.recipe)
        recipes.setdefault(cell.row, {})[key_of(cell.case)] = cell.recipe.computed()
    return Results(rows, recipes)


def finished(cells: Iterable[Cell], scores: Scores) -> list[Cell]:
    """Return the cells of the cases of which every row is in the cache."""
    cells = list(cells)
    missing = {key_of(cell.case) for cell in cells if not scores.are_known(cell.case, cell.recipe)}
    return [cell for cell in cells if key_of(cell.case) not in missing]


def summarize(results: Results, experiment: Experiment) -> dict[str, Any]:
    """Return the table of a study: row -> score -> estimate, the same per run, and the comparison with another row.

    Rows that compute the same images are not compared. What the cases consist of is not in it (studies/case_counts.py).
    """
    some = next(iter(results.rows.values()))
    rows = {row: _summarize_row(results, row, experiment) for row in results.rows}
    images = sum(len(next(iter(columns.values()))) for columns in some.values())
    return {
        "title": experiment.title,
        "cases": len(some),
        "images per row": images,
        "rows": rows,
    }


def _summarize_row(results: Results, row: str, experiment: Experiment) -> dict[str, Any]:
    reference = experiment.reference(row)
    table = {}
    for score in experiment.scores:
        values = results.by_case(row, score)
        if values and not np.isnan(np.concatenate(list(values.values()))).all():
            entry = _estimates(values)
            is_compared = reference in results.rows and results.can_differ(row, reference)
            if is_compared and (others := results.by_case(reference, score)):
                entry |= {"compared with": reference} | _compare(values, others)
            table[score] = entry
    return table


def _estimates(values: Mapping[CaseKey, Float64Array]) -> dict[str, Any]:
    means = _means(values)
    runs = np.array([key.run for key in values])
    by_run = [float(np.nanmean(means[runs == run])) for run in sorted(set(runs.tolist()))]
    return estimate(means, [key.groups for key in values]) | {"cases": len(means), "runs": by_run}


def _compare(
    values: Mapping[CaseKey, Float64Array], others: Mapping[CaseKey, Float64Array]
) -> dict[str, Any]:
    """Return the paired difference of the cases that both have, and how often an image scores higher."""
    keys = [key for key in values if key in others]
    ours, theirs = [values[key] for key in keys], [others[key] for key in keys]
    differences = {key: mine - other for key, mine, other in zip(keys, ours, theirs, strict=True)}
    rates = win_rate(np.concatenate(ours), np.concatenate(theirs))
    difference = estimate(_means(differences), [key.groups for key in keys])
    return {"difference": difference, "images": asdict(rates)}


def win_rate(ours: Float64Array, theirs: Float64Array, tie: float = TIE) -> WinRate:
    """Return how often a value is above another one, below it, or at most `tie` away from it; nan is left out."""
    difference = (ours - theirs)[~np.isnan(ours - theirs)]
    wins, losses = float((difference > tie).mean()), float((difference < -tie).mean())
    return WinRate(wins, 1 - wins - losses, losses)


def _means(values: Mapping[CaseKey, Float64Array]) -> Float64Array:
    """Return the mean of each case's images (C,), nan for a case without a defined one."""
    return np.array([np.nan if np.isnan(column).all() else np.nanmean(column) for column in values.values()])
