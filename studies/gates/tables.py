"""Tables of the study: both shown, with intervals by objects and styles."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.experiments.cases import KINDS, PromptCase
from autolora.storage.arrays import Float64Array
from studies.crossed_bootstrap import Groups, estimate
from studies.study_file import Table

SCORE = "both shown"


def make_table(
    title: str,
    shown: Mapping[str, Float64Array],
    cases: Sequence[PromptCase],
    images: int,
    baseline: str | None = None,
) -> Table:
    """Return the table of a situation, or of the choice of the recipes.

    shown: row -> share of a pair's images that show both, (seeds of the gates, C). images: per pair, and per seed of
    the gates. baseline: the row that the others are compared with.
    """
    rows = compare(shown, cases, baseline)
    return {"title": title, "cases": len(cases), "images per row": images * len(cases), "rows": rows}


def groups_of(case: PromptCase) -> Groups:
    """Return the members of a pair: an object and a style, or the adapters if their themes are not known.

    So pairs of two adapters of one object are not independent.
    """
    names = (theme or sha256 for theme, sha256 in zip(case.themes, case.adapters, strict=True))
    return tuple(zip(KINDS, names, strict=True))


def compare(
    shown: Mapping[str, Float64Array], cases: Sequence[PromptCase], baseline: str | None
) -> dict[str, Any]:
    """Return row -> both shown, and its paired difference to the baseline. shown: as in `make_table`."""
    groups = [groups_of(case) for case in cases]
    rows: dict[str, Any] = {}
    for name, values in shown.items():
        entry: dict[str, Any] = {**estimate(values.mean(0), groups), "runs": values.mean(1).tolist()}
        if baseline is not None and name != baseline:
            difference = values.mean(0) - shown[baseline].mean(0)
            entry |= {"compared with": baseline, "difference": estimate(difference, groups)}
        rows[name] = {SCORE: entry}
    return rows
