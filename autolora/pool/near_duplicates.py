"""Duplicates: one adapter under several names, and adapters that are an earlier one saved anew.

Equal bytes are one adapter with several listings, its origins. A **near-duplicate** has other bytes and nearly the
same update: re-saved, re-quantized, re-scaled, factored anew, padded to a higher rank. Fingerprints of sketches tell,
which know nothing of layout, rank or strength.

Adapters are gone through from the earliest to the latest: one that is alike an original is its near-duplicate, any
other is an original. So the order of downloads does not matter, and where an original leaves the catalog, the next
one takes its place. Which are alike is kept in a table, so that a newcomer is compared with all, once.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autolora.catalog.sources import Origins
from autolora.lora.fingerprint import earlier
from autolora.lora.verdict import refusal
from autolora.pool import store as pool
from autolora.pool.recipe import Terms
from autolora.records import ACCEPTED, Adapter, Listing
from autolora.storage.files import Row, hash_value, read_rows

NEAR, EXACT = "near-duplicate", "exact-duplicate"
DIGITS = 4
"""of a cosine that is kept"""
SAME_STRENGTH = 0.01
"""a ratio of norms this near to 1 is not told"""

Alike = dict[str, dict[str, float]]
"""adapter -> others that are alike, with the cosine; each pair is under one of the two at least"""

logger = logging.getLogger(__name__)


def is_read(row: Adapter) -> bool:
    """Tell whether a file was read whole, so that its weights and sketch are kept: accepted, or a near-duplicate."""
    return row.verdict in (ACCEPTED, NEAR)


def gather(listings: Iterable[Listing]) -> dict[str, Origins]:
    """Return the origins of each file by Listing.key, the earliest first; of one day in the catalog's order.

    The files are in that order, too.
    """
    found: dict[str, list[Listing]] = {}
    for listing in sorted(listings, key=lambda one: one.first_seen):
        found.setdefault(listing.key, []).append(listing)
    return {key: Origins(tuple(several)) for key, several in found.items()}


def compare(root: Path, adapters: Collection[str], terms: Terms) -> int:
    """Compare the adapters (sha256) that are new with all, note who is alike, and return how many were new."""
    known = alike(root, terms)
    new = [sha256 for sha256 in sorted(adapters) if sha256 not in known]
    if not new:
        return 0
    order = [sha256 for sha256 in sorted(adapters) if sha256 in known] + new
    prints = pool.load_fingerprints(root, order)
    threshold = terms.bounds.near_duplicate_cosine
    rows = []
    for sha256, cosines in zip(new, earlier(prints, len(order) - len(new)), strict=True):
        near = {order[i]: _rounded(cosines[i]) for i in np.flatnonzero(cosines >= threshold).tolist()}
        rows.append(_row(sha256, near, terms))
    pool.append(root, "alike", rows)
    logger.info("%d adapters compared with %d; %d are like another", len(new), len(order), _count(rows))
    return len(new)


def alike(root: Path, terms: Terms) -> Alike:
    """Return who is like whom, for all adapters that were compared on these terms."""
    key = _terms_key(terms)
    return {
        row["key"]: row["alike"] for row in read_rows(pool.table_path(root, "alike")) if row["terms"] == key
    }


def alike_rows(found: Alike, adapters: Collection[str], terms: Terms) -> list[Row]:
    """Return the table for these adapters alone: each pair once, under the greater sha256, whoever came first."""
    pairs: Alike = {sha256: {} for sha256 in sorted(adapters) if sha256 in found}
    for one, others in found.items():
        for other, cosine in others.items():
            if one in pairs and other in pairs:
                pairs[max(one, other)][min(one, other)] = cosine
    return [_row(sha256, near, terms) for sha256, near in pairs.items()]


def settle(rows: Mapping[str, Adapter], files: Mapping[str, Origins], found: Alike) -> dict[str, Adapter]:
    """Return the rows by Listing.key with the verdicts that follow from who is like whom.

    files: the origins of the rows' files, in the order of `gather`.
    """
    read = {row.sha256: row for row in rows.values() if is_read(row)}
    places: dict[str, list[Listing]] = {}  # sha256 -> its listings, the earliest file first
    for key, origins in files.items():
        if key in rows and is_read(rows[key]):
            places.setdefault(rows[key].sha256, []).extend(origins.listings)
    near = _neighbors(found, read)
    originals = _originals(list(places), near)
    return {
        key: _judge(row, read[originals[row.sha256]], places, near) if is_read(row) else row
        for key, row in rows.items()
    }


def _neighbors(found: Alike, read: Mapping[str, Adapter]) -> Alike:
    """Return who is like whom in both directions, among the files that are there."""
    near: Alike = {}
    for one, others in found.items():
        for other, cosine in others.items():
            if one in read and other in read:
                near.setdefault(one, {})[other] = cosine
                near.setdefault(other, {})[one] = cosine
    return near


def _originals(order: Sequence[str], near: Alike) -> dict[str, str]:
    """Return adapter -> the earliest original that it is like, or itself."""
    place = {sha256: number for number, sha256 in enumerate(order)}
    found: dict[str, str] = {}
    for sha256 in order:
        candidates = sorted(near.get(sha256, {}), key=lambda one: place[one])
        found[sha256] = next((one for one in candidates if found.get(one) == one), sha256)
    return found


def _judge(row: Adapter, original: Adapter, places: Mapping[str, Sequence[Listing]], near: Alike) -> Adapter:
    if original.sha256 == row.sha256:
        warnings = [code for code in row.warnings if code != EXACT]
        several = len(places[row.sha256]) > 1
        return replace(row, verdict=ACCEPTED, reason="", warnings=(*warnings, *[EXACT] * several))
    named = places[original.sha256][0]
    name = f"{named.hub}:{named.id}/{named.file} (sha256 {original.sha256})"
    cosine = near[row.sha256][original.sha256]
    words = [f"that one is {name}", f"cosine {cosine:.{DIGITS}f}", *_differences(row, original)]
    return replace(row, verdict=NEAR, reason=str(refusal(NEAR, "; ".join(words))))


def _differences(row: Adapter, original: Adapter) -> list[str]:
    """Say in words how a near-duplicate differs from its original."""
    words = []
    ratio = row.norm / original.norm
    if abs(ratio - 1) > SAME_STRENGTH:
        words.append(f"{ratio:.3g} times as strong")
    for noun, here, there in (
        ("layout", row.layout, original.layout),
        ("rank", row.rank_max, original.rank_max),
        ("layers", row.num_slots, original.num_slots),
    ):
        if here != there:
            words.append(f"{noun} {here}, there {there}")
    if row.dtype != original.dtype:
        words.append(f"stored as {row.dtype}, there {original.dtype}")
    return words or ["factored, padded or rounded anew"]


def _row(sha256: str, near: Mapping[str, float], terms: Terms) -> Row:
    return {"key": sha256, "terms": _terms_key(terms), "alike": dict(near)}


def _terms_key(terms: Terms) -> str:
    return hash_value([terms.recipe, terms.bounds.near_duplicate_cosine])[:16]


def _rounded(cosine: np.floating) -> float:
    """Round: the last digits depend on how many threads added them up."""
    return round(float(cosine), DIGITS)


def _count(rows: Iterable[Row]) -> int:
    return sum(bool(row["alike"]) for row in rows)
