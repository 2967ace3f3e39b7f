"""Exact and near-duplicates: adapters that the pool contains more than once.

Files with equal bytes are one adapter with several sources. A **near-duplicate** has other bytes and nearly the same
update: it was saved in another layout or type, scaled, factored differently, or padded to a higher rank. Two adapters
are near-duplicates if the cosine of their sketches' fingerprints reaches pool.near_duplicate_cosine; fingerprints do
not depend on layout, rank or strength.

Verdicts are assigned in the order of first_seen: an adapter that is similar to an earlier original is a near-duplicate
of it, and every other adapter is an original. So verdicts do not depend on the order of downloads, and if an original
leaves the catalog, the next adapter becomes the original. The similar pairs are stored in a table, so that each run
compares only new adapters with all others.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autolora.catalog.names import full_name
from autolora.catalog.sources import Sources, group_sources
from autolora.lora.fingerprint import cosines_with_earlier
from autolora.lora.verdict import refusal
from autolora.pool import store as pool
from autolora.pool.tables import PoolTables
from autolora.records import ACCEPTED, Adapter, Listing
from autolora.storage.files import Row
from autolora.storage.hashes import hash_value

if TYPE_CHECKING:  # the report needs the verdicts only, and no torch
    from autolora.pool.recipe import ReadRecipe

NEAR_DUPLICATE, EXACT_DUPLICATE = "near-duplicate", "exact-duplicate"
COSINE_DIGITS = 4
"""decimals of a stored cosine; further ones depend on the number of threads that summed"""
SAME_NORM_TOLERANCE = 0.01
"""a ratio of norms within this distance of 1 is not reported as a difference"""

SimilarPairs = dict[str, dict[str, float]]
"""adapter -> similar adapter -> cosine, all by sha256; each pair is stored under at least one of the two"""

logger = logging.getLogger(__name__)


def should_be_stored(row: Adapter) -> bool:
    """Return whether the pool stores weights and sketch of a file: those of accepted files and near-duplicates."""
    return row.verdict in (ACCEPTED, NEAR_DUPLICATE)


def compare_new(tables: PoolTables, adapters: Collection[str], recipe: "ReadRecipe") -> int:
    """Compare new adapters (sha256) with all others, append their rows, and return the number of new adapters."""
    known = similar_pairs(tables, recipe)
    new = [sha256 for sha256 in sorted(adapters) if sha256 not in known]
    if not new:
        return 0
    order = [sha256 for sha256 in sorted(adapters) if sha256 in known] + new
    prints = pool.load_fingerprints(tables.root, order, recipe.digest)
    threshold, settings = recipe.bounds.near_duplicate_cosine, _settings_digest(recipe)
    rows = []
    for sha256, cosines in zip(new, cosines_with_earlier(prints, len(order) - len(new)), strict=True):
        similar = np.flatnonzero(cosines >= threshold).tolist()
        rows.append(
            _row(sha256, {order[i]: round(float(cosines[i]), COSINE_DIGITS) for i in similar}, settings)
        )
    tables.append("near_duplicates", rows)
    with_similar = sum(bool(row["cosines"]) for row in rows)
    logger.info(
        "compared %d new adapters with %d; %d are similar to another", len(new), len(order), with_similar
    )
    return len(new)


def similar_pairs(tables: PoolTables, recipe: "ReadRecipe") -> SimilarPairs:
    """Return the similar pairs among all adapters that were compared under this recipe and threshold."""
    settings, rows = _settings_digest(recipe), tables.near_duplicates.values()
    return {row["sha256"]: row["cosines"] for row in rows if row["settings"] == settings}


def near_duplicate_rows(pairs: SimilarPairs, adapters: Collection[str], recipe: "ReadRecipe") -> list[Row]:
    """Return the table's rows for these adapters, each pair once, under the greater sha256.

    So the table does not depend on the order in which the adapters were compared.
    """
    cosines: SimilarPairs = {sha256: {} for sha256 in sorted(adapters) if sha256 in pairs}
    for first, similar in pairs.items():
        for second, cosine in similar.items():
            if first in cosines and second in cosines:
                cosines[max(first, second)][min(first, second)] = cosine
    settings = _settings_digest(recipe)
    return [_row(sha256, similar, settings) for sha256, similar in cosines.items()]


def assign_verdicts(
    rows: Mapping[str, Adapter], listings: Iterable[Listing], pairs: SimilarPairs
) -> dict[str, Adapter]:
    """Return the rows by Listing.key with the verdicts and warnings about duplicates."""
    stored = {key: row for key, row in rows.items() if should_be_stored(row)}
    by_sha256 = {row.sha256: row for row in stored.values()}
    sources = group_sources(
        (listing for listing in listings if listing.key in stored), lambda listing: stored[listing.key].sha256
    )
    similar = _symmetric(pairs, by_sha256)
    originals = _find_originals(list(sources), similar)
    return {
        key: _with_verdict(row, by_sha256[originals[row.sha256]], sources, similar) if key in stored else row
        for key, row in rows.items()
    }


def _symmetric(pairs: SimilarPairs, adapters: Collection[str]) -> SimilarPairs:
    """Return each pair under both of its adapters, for pairs of which both are among `adapters`."""
    similar: SimilarPairs = {}
    for first, others in pairs.items():
        for second, cosine in others.items():
            if first in adapters and second in adapters:
                similar.setdefault(first, {})[second] = cosine
                similar.setdefault(second, {})[first] = cosine
    return similar


def _find_originals(order: Sequence[str], similar: SimilarPairs) -> dict[str, str]:
    """Return adapter -> the earliest original similar to it, or the adapter itself if there is none."""
    positions = {sha256: position for position, sha256 in enumerate(order)}
    originals: dict[str, str] = {}
    for sha256 in order:
        candidates = sorted(similar.get(sha256, {}), key=lambda candidate: positions[candidate])
        originals[sha256] = next(
            (candidate for candidate in candidates if originals.get(candidate) == candidate), sha256
        )
    return originals


def _with_verdict(
    row: Adapter, original: Adapter, sources: Mapping[str, Sources], similar: SimilarPairs
) -> Adapter:
    if original.sha256 == row.sha256:
        copies = (EXACT_DUPLICATE,) if len(sources[row.sha256].listings) > 1 else ()
        warnings = (*(code for code in row.warnings if code != EXACT_DUPLICATE), *copies)
        if row.verdict == ACCEPTED and row.warnings == warnings:
            return row
        return replace(row, verdict=ACCEPTED, reason="", warnings=warnings)
    listing = sources[original.sha256].primary
    name = f"{full_name(listing.hub, listing.id, listing.file)} (sha256 {original.sha256})"
    cosine = similar[row.sha256][original.sha256]
    details = [f"the original is {name}", f"cosine {cosine:.{COSINE_DIGITS}f}", *_differences(row, original)]
    return replace(row, verdict=NEAR_DUPLICATE, reason=str(refusal(NEAR_DUPLICATE, "; ".join(details))))


def _differences(row: Adapter, original: Adapter) -> list[str]:
    """Return descriptions of the differences between a near-duplicate and its original."""
    differences = []
    ratio = row.norm / original.norm
    if abs(ratio - 1) > SAME_NORM_TOLERANCE:
        differences.append(f"{ratio:.3g} times the original's norm")
    for label, value, original_value in (
        ("layout", row.layout, original.layout),
        ("rank", row.rank_max, original.rank_max),
        ("number of slots", row.num_slots, original.num_slots),
        ("dtype", row.dtype, original.dtype),
    ):
        if value != original_value:
            differences.append(f"{label} {value} instead of {original_value}")
    return differences or ["the files differ only in factorization, padding or rounding"]


def _row(sha256: str, cosines: Mapping[str, float], settings: str) -> Row:
    return {"sha256": sha256, "settings": settings, "cosines": dict(cosines)}


def _settings_digest(recipe: "ReadRecipe") -> str:
    """Return 16 hex digits that identify recipe and threshold; pairs found under other settings are not used."""
    return hash_value([recipe.digest, recipe.bounds.near_duplicate_cosine])[:16]
