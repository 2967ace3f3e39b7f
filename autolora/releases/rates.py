"""Rates of newcomers, each against the same rate on the operator's own last nights.

An adapter that is already served is checked exactly (autolora.releases.exact); what a hub delivers is not known in
advance. The limit of a rate is the number of events that so many trials exceed on one night of MAX_CHANCE, given the
nights before, by a beta-binomial distribution: nights differ more than single files do, so all nights together count
as no more than MAX_WEIGHT files.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autolora.index.copies import Index
from autolora.refresh.outcomes import Outcome
from autolora.releases.checks import Check, Decision, nights
from autolora.releases.exact import MAX_NAMED
from autolora.storage.arrays import Float32Array

MAX_CHANCE = 1e-4
"""of a night like those before to be refused because of one rate"""
MIN_NIGHTS = 10
"""nights before a rate may refuse; with fewer it warns"""
PRIOR = (0.5, 4.5)
"""events and other trials that are assumed before the first night"""
MAX_WEIGHT = 50
"""trials that all nights together count as"""
QUERY_WEIGHT = 20
"""queries that the pinned ones count as: those of one topic are won by the same adapter"""
NEW_KINDS = ("accepted", "refused", "duplicate")
"""outcomes of files that were read"""


@dataclass(frozen=True, slots=True)
class Rate:
    """Events among the newcomers of one hub."""

    name: str
    hub: str
    events: int
    trials: int
    names: tuple[str, ...] = ()
    """of adapters that are events"""


def rate_checks(
    former: Index,
    index: Index,
    features: Float32Array,
    outcomes: Sequence[Outcome],
    decisions: Sequence[Decision],
) -> Iterator[Check]:
    """Yield the checks of what has come since the served index. features (Q, d): of the pinned queries."""
    for rate in (*_file_rates(outcomes), *_caption_rates(former, index), *_lost_rates(former, index)):
        past = nights(decisions, rate.name, rate.hub)
        yield _judged(rate, _limit(rate.trials, past), len(past))
    for rate, share in _query_rates(former, index, features):
        past = nights(decisions, rate.name, rate.hub)
        yield _judged(rate, _query_limit(rate.trials, share), len(past))


def _file_rates(outcomes: Iterable[Outcome]) -> Iterator[Rate]:
    """Yield per hub how many of the files that were read are refused, and how many are in the pool already."""
    read = [outcome for outcome in outcomes if outcome.kind in NEW_KINDS]
    for hub in sorted({_hub(outcome) for outcome in read}):
        own = [outcome for outcome in read if _hub(outcome) == hub]
        for name, kind in (("files refused", "refused"), ("near-duplicates", "duplicate")):
            events = [outcome.name for outcome in own if outcome.kind == kind]
            yield Rate(name, hub, len(events), len(own), tuple(events[:MAX_NAMED]))


def _caption_rates(former: Index, index: Index) -> Iterator[Rate]:
    """Yield per hub how many newcomers with captions have captions that disagree with their weights."""
    known = set(former.rows.columns.column("sha256").to_pylist())
    names = ["sha256", "hub", "id", "agreement", "uses_captions"]
    rows = [
        row
        for row in index.rows.columns.select(names).to_pylist()
        if row["sha256"] not in known and row["agreement"] is not None
    ]
    for hub in sorted({row["hub"] for row in rows}):
        own = [row for row in rows if row["hub"] == hub]
        events = [row["id"] for row in own if not row["uses_captions"]]
        yield Rate("captions that disagree", hub, len(events), len(own), tuple(events[:MAX_NAMED]))


def _lost_rates(former: Index, index: Index) -> Iterator[Rate]:
    """Yield per hub how many of the served adapters have left, for whatever reason."""
    present = set(index.rows.columns.column("sha256").to_pylist())
    rows = former.rows.columns.select(["sha256", "hub", "id"]).to_pylist()
    for hub in sorted({row["hub"] for row in rows}):
        own = [row for row in rows if row["hub"] == hub]
        events = [row["id"] for row in own if row["sha256"] not in present]
        yield Rate("adapters lost", hub, len(events), len(own), tuple(events[:MAX_NAMED]))


def _query_rates(former: Index, index: Index, features: Float32Array) -> Iterator[tuple[Rate, float]]:
    """Yield per hub how many pinned queries are won by newcomers, and their share of the index."""
    known = set(former.rows.columns.column("sha256").to_pylist())
    rows = index.rows.columns.select(["sha256", "hub", "id"]).to_pylist()
    new = Counter(row["hub"] for row in rows if row["sha256"] not in known)
    if not (new and len(features)):
        return
    best = np.argmax(index.text_map.apply(features) @ index.vectors.T, axis=1).tolist()
    winners = [rows[row] for row in best if rows[row]["sha256"] not in known]
    for hub, number in sorted(new.items()):
        won = Counter(row["id"] for row in winners if row["hub"] == hub)
        names = tuple(f"{name} wins {count}" for name, count in won.most_common(MAX_NAMED))
        yield Rate("pinned queries won", hub, won.total(), len(best), names), number / len(rows)


def _judged(rate: Rate, limit: int, past: int) -> Check:
    few = f"; a warning only, since {past} of {MIN_NIGHTS} nights are known" if past < MIN_NIGHTS else ""
    passed = rate.events <= limit
    return Check(
        name=rate.name,
        hub=rate.hub,
        value=rate.events,
        trials=rate.trials,
        rule=f"at most {limit}{few}",
        passed=passed,
        severity="warn" if few else "refuse",
        detail="" if passed else ", ".join(rate.names),
    )


def _limit(trials: int, past: Sequence[tuple[int, int]]) -> int:
    """Return the largest number of events that is no exception after these nights."""
    events, total = (sum(night[column] for night in past) for column in (0, 1))
    weight = min(1.0, MAX_WEIGHT / max(total, 1))
    return _quantile(trials, PRIOR[0] + weight * events, PRIOR[1] + weight * (total - events))


def _query_limit(queries: int, share: float) -> int:
    """Return the largest number of queries that newcomers win by no exception, if they are this share of the index."""
    mean = min(max(share, 1 / QUERY_WEIGHT / 2), 1 - 1e-9)
    return _quantile(queries, QUERY_WEIGHT * mean, QUERY_WEIGHT * (1 - mean))


def _quantile(trials: int, events: float, others: float) -> int:
    from scipy import stats  # here, because it takes longer to import than a search

    return int(stats.betabinom.isf(MAX_CHANCE, trials, events, others))


def _hub(outcome: Outcome) -> str:
    return outcome.name.partition(":")[0]
