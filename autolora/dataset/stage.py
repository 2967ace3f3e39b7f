"""Stage `dataset`: LanceDB tables of adapters, renderings, captions and prompts, and the training lock.

Each table is a function of the catalog, the pool, the captions, the training lock and params.yaml. A run computes
the expected rows, compares their hashes with the hashes of the stored rows, and writes the difference.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autolora.captions.store import read_captions
from autolora.catalog.sources import Sources
from autolora.catalog.store import read_active
from autolora.dataset.families import assign_families, assign_split
from autolora.dataset.store import (
    ADAPTERS,
    INEXACT,
    SCHEMA,
    TABLES,
    TRAINING_LOCK,
    TrainingRow,
    captions_by_image,
    folder,
    group_by_image,
    rows,
    training_lock,
)
from autolora.params import DatasetParams
from autolora.pool import store as pool
from autolora.records import Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, write_rows
from autolora.storage.git import restore_committed
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest
from autolora.storage.tables import Counts, has_table, read_table, sync_table

logger = logging.getLogger(__name__)


def update_adapters(root: Path, params: DatasetParams) -> Counts:
    """Update the table of adapters: one row per file, named by its primary source."""
    restore_committed(root, TRAINING_LOCK)
    accepted = _accepted_adapters(root)
    fingerprints = _fingerprints(root, (adapter for _, adapter in accepted.values()))
    locked = {row.sha256: row for row in _locked_rows(root, params)}
    families = assign_families(
        fingerprints, {sha256: row.family for sha256, row in locked.items()}, params.family_cosine
    )
    captions = group_by_image(read_captions(root))
    pooled = pool.renderings(root)
    expected = {}
    for sha256, (sources, adapter) in accepted.items():
        images = [rendering.sha256 for _, rendering in _pooled_renderings(sources, pooled)]
        locked_split = locked[sha256].split if sha256 in locked else None
        expected[sha256] = {
            "family": families[sha256],
            "split": locked_split or assign_split(families[sha256], params.salt, params.test_share),
            "renderings": images,
            "captions_digest": hash_value(
                [[_caption_id(c), c.text] for image in images for c in captions.get(image, ())]
            ),
            "fingerprint": fingerprints[sha256].tolist(),
            **_listing_columns(sources),
            **_adapter_columns(adapter),
        }
    return _sync(root, "adapters", expected)


def update_training_lock(root: Path, params: DatasetParams) -> bool:
    """Write the training lock if its date differs from params.yaml or it is missing; return whether it was written."""
    if training_lock(root).train_until == params.train_until:
        return False
    names = ("sha256", "family", "split", "renderings")
    locked = [row for row in rows(root, "adapters") if row["first_seen"] <= params.train_until]
    head = {"train_until": params.train_until.isoformat()}
    write_rows(root / TRAINING_LOCK, [head, *({name: row[name] for name in names} for row in locked)])
    logger.info("training lock: %d adapters first seen up to %s", len(locked), params.train_until)
    return True


def update_renderings(root: Path) -> Counts:
    """Update the table of renderings: one row per adapter and image."""
    pooled = pool.renderings(root)
    expected = {}
    for sha256, (sources, _) in _accepted_adapters(root).items():
        for listed, rendering in _pooled_renderings(sources, pooled):
            expected[f"{sha256}:{rendering.sha256}"] = {
                "adapter": sha256,
                "image": rendering.sha256,
                "width": rendering.width,
                "height": rendering.height,
                "url": listed.url,
                "prompt": listed.prompt,
            }
    return _sync(root, "renderings", expected)


def update_captions(root: Path) -> Counts:
    """Update the table of captions: one row per caption of an image of the dataset."""
    images = {row["image"] for row in rows(root, "renderings")}
    expected = {
        _caption_id(caption): {
            "image": caption.image,
            "prompt": caption.prompt,
            "vlm": caption.vlm,
            "length": caption.length,
            "text": caption.text,
        }
        for caption in read_captions(root)
        if caption.image in images
    }
    return _sync(root, "captions", expected)


def update_prompts(root: Path) -> Counts:
    """Update the table of evaluation queries: captions of adapters of families outside the training split."""
    training_families = {row.family for row in training_lock(root).in_split("train")}
    captions = captions_by_image(root)
    expected = {}
    for adapter in rows(root, "adapters"):
        if adapter["family"] in training_families:
            continue
        for caption in (caption for image in adapter["renderings"] for caption in captions.get(image, ())):
            expected[f"{adapter['sha256']}:{_caption_id(caption)}"] = {
                "adapter": adapter["sha256"],
                "family": adapter["family"],
                "image": caption.image,
                "length": caption.length,
                "text": caption.text,
            }
    return _sync(root, "prompts", expected)


def finish(root: Path) -> str:
    """Write digests/dataset.json over the rows of all tables; return its sha256."""
    hashes: dict[str, str] = {}
    counts = {}
    for table, columns in TABLES.items():
        key = next(iter(columns))
        stored = read_table(folder(root), table, [key, "row_hash"])
        hashes |= {f"{table}/{row[key]}": row["row_hash"] for row in stored}
        counts[table] = len(stored)
    return write_digest(root, "dataset", hashes, SCHEMA, tables=counts)


def _sync(root: Path, table: str, expected: Mapping[str, Row]) -> Counts:
    return sync_table(folder(root), table, TABLES[table], expected, INEXACT)


def _accepted_adapters(root: Path) -> dict[str, tuple[Sources, Adapter]]:
    """Return sha256 -> listings and pool record of each accepted file, sorted by first_seen and sha256.

    The listings of a file are sorted by first_seen; listings of the same day are in the catalog's order.
    """
    pooled = pool.adapters(root)
    listings: dict[str, list[Listing]] = {}
    adapters: dict[str, Adapter] = {}
    for listing in sorted(read_active(root), key=lambda listing: listing.first_seen):
        adapter = pooled.get(listing.key)
        if adapter is not None and adapter.accepted:
            listings.setdefault(adapter.sha256, []).append(listing)
            adapters.setdefault(adapter.sha256, adapter)
    accepted = {sha256: (Sources(tuple(listings[sha256])), adapter) for sha256, adapter in adapters.items()}
    return dict(sorted(accepted.items(), key=lambda item: (item[1][0].first_seen, item[0])))


def _fingerprints(root: Path, adapters: Iterable[Adapter]) -> dict[str, Float32Array]:
    """Return adapter sha256 -> fingerprint; reads only the sketches of adapters that the table does not hold."""
    stored: dict[tuple[str, str], list[float]] = {}
    if has_table(folder(root), "adapters", ADAPTERS):
        table_rows = read_table(folder(root), "adapters", ["sha256", "recipe", "fingerprint"])
        stored = {(row["sha256"], row["recipe"]): row["fingerprint"] for row in table_rows}
    fingerprints = {}
    for adapter in adapters:
        fingerprint = stored.get((adapter.sha256, adapter.recipe))
        if fingerprint is None:
            (fingerprint,) = pool.load_fingerprints(root, [adapter.sha256])
        fingerprints[adapter.sha256] = np.asarray(fingerprint, dtype=np.float32)
    return fingerprints


def _locked_rows(root: Path, params: DatasetParams) -> tuple[TrainingRow, ...]:
    """Return the rows whose family and split are fixed: those of the lock, unless its date has changed."""
    lock = training_lock(root)
    return lock.rows if lock.train_until == params.train_until else ()


def _pooled_renderings(
    sources: Sources, pooled: Mapping[str, PooledRendering]
) -> list[tuple[ListedRendering, PooledRendering]]:
    """Return those renderings of an adapter that are in the pool, each image once."""
    by_image: dict[str, tuple[ListedRendering, PooledRendering]] = {}
    for listed in sources.renderings:
        rendering = pooled.get(listed.key)
        if rendering is not None:
            by_image.setdefault(rendering.sha256, (listed, rendering))
    return list(by_image.values())


def _listing_columns(sources: Sources) -> Row:
    """Return the columns from the catalog: names of the primary source, restrictions as the strictest source has."""
    primary = sources.primary
    return {
        "first_seen": sources.first_seen,
        "hub": primary.hub,
        "id": primary.id,
        "version": primary.version,
        "file": primary.file,
        "sources": sources.ids,
        "license": primary.license,
        **asdict(sources.permissions),
        "base_model": primary.base_model,
        "base": primary.base,
        "nsfw": sources.nsfw,
        "nsfw_level": sources.nsfw_level,
        "person": sources.person,
        "minor": sources.minor,
        "trigger_words": list(primary.trigger_words),
        "listing_digest": sources.digest,
    }


def _adapter_columns(adapter: Adapter) -> Row:
    """Return the columns from the pool's record of the file."""
    return {
        "layout": adapter.layout,
        "num_slots": adapter.num_slots,
        "rank_max": adapter.rank_max,
        "norm": adapter.norm,
        "recipe": adapter.recipe,
    }


def _caption_id(caption: Caption) -> str:
    return hash_value([caption.image, caption.prompt, caption.vlm])
