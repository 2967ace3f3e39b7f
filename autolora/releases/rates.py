"""Rates of newcomers, each against the same rate on the operator's own last nights.

An adapter that is already served is checked exactly (autolora.releases.exact); what a hub delivers is not known in
advance. A rate exceeds its limit with probability MAX_CHANCE on a night like those before, by a beta-binomial
distribution: nights differ more than single files do, so all nights together count as no more than MAX_WEIGHT files,
or UPLOADERS_WEIGHT.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.dataset import store as dataset
from autolora.index.copies import Index
from autolora.refresh.outcomes import Outcome
from autolora.releases.checks import ALL_HUBS, Check, Decision, nights
from autolora.releases.exact import MAX_NAMED
from autolora.storage.files import Row
from autolora.storage.tables import read_where

MAX_CHANCE = 1e-4
"""probability that a night like those before is refused because of one rate"""
MIN_NIGHTS = 10
"""nights before a rate may refuse; with fewer it warns"""
PRIOR = (0.5, 4.5)
"""events and other trials that are assumed before the first night"""
EARLY_SHARE, EARLY_ADAPTERS = 0.5, 12
"""with fewer nights, new captions refuse if weights contradict more than this share of so many adapters or more: at
most .22 on 63 healthy nights, up to .95 if a captioner mixes up its answers and the encoder knows the pool well"""
MAX_WEIGHT = 50
"""trials that all nights together count as"""
UPLOADERS_WEIGHT = 25
"""the same for what uploaders decide: the files of one are alike"""
OF_UPLOADERS = ("files refused", "near-duplicates", "adapters lost", "captions changed")
QUERY_WEIGHT = 40
"""queries that the pinned ones count as: those of one topic are won by the same adapter"""
MAX_READ = 1000
"""adapters whose captions are read"""
NEW_KINDS = ("accepted", "refused", "duplicate")
"""outcomes of files that were read"""

DISAGREE = "captions that disagree"

Case = tuple[str, str, bool]
"""hub, name of the adapter, and whether it is an event"""


@dataclass(frozen=True, slots=True)
class Rate:
    """Events among the adapters of one hub, or of all."""

    name: str
    hub: str
    events: int
    trials: int
    names: tuple[str, ...] = ()
    """of adapters that are events"""


def rate_checks(
    root: Path,
    former: Index | None,
    index: Index,
    winners: Sequence[str],
    outcomes: Sequence[Outcome],
    decisions: Sequence[Decision],
) -> Iterator[Check]:
    """Yield the checks of what has come since the served index; of a first release, whether captions fit the weights.

    winners (Q,): sha256 of the first hits of the pinned queries.
    """
    if len(nights(decisions, DISAGREE, ALL_HUBS)) < MIN_NIGHTS:
        yield from _early_check(_new_captions(former, index)[0])
    if former is None:
        return
    for rate in (*_file_rates(outcomes), *_caption_rates(root, former, index), *_lost_rates(former, index)):
        past = nights(decisions, rate.name, rate.hub)
        weight = UPLOADERS_WEIGHT if rate.name in OF_UPLOADERS else MAX_WEIGHT
        yield _judged(rate, _limit(rate.trials, past, weight), len(past))
    for rate, share in _query_rates(former, index, winners):
        past = nights(decisions, rate.name, rate.hub)
        yield _judged(rate, _query_limit(rate.trials, share), len(past))


def _rates(name: str, cases: Sequence[Case]) -> Iterator[Rate]:
    """Yield the rate of each hub that has cases and, if several have, that of all: a fault may be spread over them."""
    hubs = sorted({hub for hub, _, _ in cases})
    for hub in [*hubs, ALL_HUBS] if len(hubs) > 1 else hubs:
        own = [case for case in cases if hub in (case[0], ALL_HUBS)]
        events = [label for _, label, is_event in own if is_event]
        yield Rate(name, hub, len(events), len(own), tuple(events[:MAX_NAMED]))


def _file_rates(outcomes: Iterable[Outcome]) -> Iterator[Rate]:
    """Yield how many of the files that were read are refused, and how many are in the pool already."""
    read = [outcome for outcome in outcomes if outcome.kind in NEW_KINDS]
    for name, kind in (("files refused", "refused"), ("near-duplicates", "duplicate")):
        yield from _rates(name, [(_hub(item), item.name, item.kind == kind) for item in read])


def _caption_rates(root: Path, former: Index, index: Index) -> Iterator[Rate]:
    """Yield how many adapters have captions that disagree with their weights, and how many of their images share a
    caption, of adapters whose captions are new; and how many served adapters have other captions than before.
    """
    new, old = _new_captions(former, index)
    yield from _rates(DISAGREE, [(row["hub"], row["id"], not row["uses_captions"]) for row in new])
    yield from _rates("captions repeated", _image_cases(root, new[:MAX_READ]))
    yield from _rates("captions changed", old)


def _new_captions(former: Index | None, index: Index) -> tuple[list[Row], list[Case]]:
    """Return the rows with captions that are new, and of those that had some before whether these have changed."""
    names = ("sha256", "captions_digest", "hub", "id", "agreement", "uses_captions")
    known = {row["sha256"]: row for row in _rows(former, names)} if former else {}
    described = [row for row in _rows(index, names) if row["agreement"] is not None]
    changed = {
        row["sha256"]: row["captions_digest"] != before["captions_digest"]
        for row in described
        if (before := known.get(row["sha256"])) and before["agreement"] is not None
    }
    old = [(row["hub"], row["id"], changed[row["sha256"]]) for row in described if row["sha256"] in changed]
    return [row for row in described if changed.get(row["sha256"], True)], old


def _early_check(new: Sequence[Row]) -> Iterator[Check]:
    """Yield the check of new captions that needs no nights to compare with."""
    wrong, total = [row["id"] for row in new if not row["uses_captions"]], len(new)
    limit = int(EARLY_SHARE * total) if total >= EARLY_ADAPTERS else total
    if new:
        passed = len(wrong) <= limit
        yield Check(
            name="captions that the weights contradict",
            value=len(wrong),
            trials=total,
            rule=f"at most {limit}, as long as fewer than {MIN_NIGHTS} nights are known",
            passed=passed,
            detail="" if passed else f"does the captioner see the images? {', '.join(wrong[:MAX_NAMED])}",
        )


def _image_cases(root: Path, rows: Sequence[Row]) -> list[Case]:
    """Return each image of these adapters, and whether its longest caption is also that of another of their images."""
    owners = {row["sha256"]: row for row in rows}
    shown = read_where(dataset.folder(root), "renderings", ["image", "adapter"], "adapter", [*owners])
    images = {row["image"]: owners[row["adapter"]] for row in shown}
    longest: dict[str, str] = {}
    for row in read_where(dataset.folder(root), "captions", ["image", "text"], "image", [*images]):
        longest[row["image"]] = max(longest.get(row["image"], ""), row["text"], key=len)
    numbers = Counter(longest.values())
    return [(images[image]["hub"], images[image]["id"], numbers[text] > 1) for image, text in longest.items()]


def _lost_rates(former: Index, index: Index) -> Iterator[Rate]:
    """Yield how many of the served adapters have left, for whatever reason."""
    present = set(index.rows.columns.column("sha256").to_pylist())
    rows = _rows(former, ("sha256", "hub", "id"))
    yield from _rates(
        "adapters lost", [(row["hub"], row["id"], row["sha256"] not in present) for row in rows]
    )


def _query_rates(former: Index, index: Index, winners: Sequence[str]) -> Iterator[tuple[Rate, float]]:
    """Yield how many pinned queries are won by newcomers, and their share of the index."""
    known = set(former.rows.columns.column("sha256").to_pylist())
    rows = _rows(index, ("sha256", "hub", "id"))
    new = [row for row in rows if row["sha256"] not in known]
    if not (new and winners):
        return
    wins, hubs = Counter(winners), sorted({row["hub"] for row in new})
    for hub in [*hubs, ALL_HUBS] if len(hubs) > 1 else hubs:
        own = [row for row in new if hub in (row["hub"], ALL_HUBS)]
        won = Counter({row["id"]: wins[row["sha256"]] for row in own if row["sha256"] in wins})
        names = tuple(f"{name} wins {count}" for name, count in won.most_common(MAX_NAMED))
        yield Rate("pinned queries won", hub, won.total(), len(winners), names), len(own) / len(rows)


def _rows(index: Index, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = index.rows.columns.select(names).to_pylist()
    return rows


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


def _limit(trials: int, past: Sequence[tuple[int, int]], max_weight: int) -> int:
    """Return the largest number of events that passes after these nights, which count as max_weight trials."""
    events, total = (sum(night[column] for night in past) for column in (0, 1))
    weight = min(1.0, max_weight / max(total, 1))
    return _quantile(trials, PRIOR[0] + weight * events, PRIOR[1] + weight * (total - events))


def _query_limit(queries: int, share: float) -> int:
    """Return the largest number of queries that newcomers may win, if they are this share of the index."""
    mean = min(max(share, 1 / QUERY_WEIGHT / 2), 1 - 1e-9)
    return _quantile(queries, QUERY_WEIGHT * mean, QUERY_WEIGHT * (1 - mean))


def _quantile(trials: int, events: float, others: float) -> int:
    from scipy import stats  # here, because it takes longer to import than a search

    return int(stats.betabinom.isf(MAX_CHANCE, trials, events, others))


def _hub(outcome: Outcome) -> str:
    return outcome.name.partition(":")[0]
