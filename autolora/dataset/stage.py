"""The dataset: LanceDB tables of adapters, renderings, captions and prompts, and the training lock.

Each table is a function of the catalog, the pool, the captions, the lock and params. A run computes the rows
that should be there, compares their hashes with those that are, and writes the difference only.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autolora.captions.store import captions as made_captions
from autolora.catalog.sources import Origins
from autolora.catalog.store import catalog
from autolora.dataset.families import assign, split
from autolora.dataset.store import (
    ADAPTERS,
    INEXACT,
    LOCK,
    SCHEMA,
    TABLES,
    TrainingRow,
    by_image,
    captions_of,
    folder,
    rows,
    training,
)
from autolora.lora.fingerprint import Floats
from autolora.params import DatasetParams
from autolora.pool import store as pool
from autolora.records import Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.files import Row, hash_value, write_rows
from autolora.storage.git import restore_committed
from autolora.storage.incremental import write_digest
from autolora.storage.tables import Counts, bring_up_to_date, has_table, read_table

logger = logging.getLogger(__name__)


def update_adapters(root: Path, params: DatasetParams) -> Counts:
    """Bring the table of adapters up to date: one row a file, named by its earliest origin."""
    restore_committed(root, LOCK)
    accepted = _accepted(root)
    prints = _fingerprints(root, (adapter for _, adapter in accepted.values()))
    settled = {row.sha256: row for row in _settled(root, params)}
    families = assign(prints, {sha256: row.family for sha256, row in settled.items()}, params.family_cosine)
    captions = by_image(made_captions(root))
    pictures = pool.renderings(root)
    wanted = {}
    for sha256, (origins, adapter) in accepted.items():
        images = [picture.sha256 for _, picture in _pictures(origins, pictures)]
        side = settled[sha256].split if sha256 in settled else None
        wanted[sha256] = {
            "family": families[sha256],
            "split": side or split(families[sha256], params.salt, params.test_share),
            "renderings": images,
            "captions_digest": hash_value(
                [[_caption_id(c), c.text] for i in images for c in captions.get(i, ())]
            ),
            "fingerprint": prints[sha256].tolist(),
            **_described(origins),
            **_measured(adapter),
        }
    return _write(root, "adapters", wanted)


def lock_training(root: Path, params: DatasetParams) -> bool:
    """Rewrite the training lock where its date is not params' (or it is missing); return whether it was."""
    if training(root).train_until == params.train_until:
        return False
    names = ("sha256", "family", "split", "renderings")
    chosen = [row for row in rows(root, "adapters") if row["first_seen"] <= params.train_until]
    head = {"train_until": params.train_until.isoformat()}
    write_rows(root / LOCK, [head, *({name: row[name] for name in names} for row in chosen)])
    logger.info("training lock: %d adapters first seen up to %s", len(chosen), params.train_until)
    return True


def update_renderings(root: Path) -> Counts:
    """Bring the table of renderings up to date: one row for each picture of each adapter."""
    pictures = pool.renderings(root)
    wanted = {}
    for sha256, (origins, _) in _accepted(root).items():
        for listed, picture in _pictures(origins, pictures):
            wanted[f"{sha256}:{picture.sha256}"] = {
                "adapter": sha256,
                "image": picture.sha256,
                "width": picture.width,
                "height": picture.height,
                "url": listed.url,
                "prompt": listed.prompt,
            }
    return _write(root, "renderings", wanted)


def update_captions(root: Path) -> Counts:
    """Bring the table of captions up to date: those of pictures that are in the dataset."""
    images = {row["image"] for row in rows(root, "renderings")}
    wanted = {
        _caption_id(caption): {
            "image": caption.image,
            "prompt": caption.prompt,
            "vlm": caption.vlm,
            "length": caption.length,
            "text": caption.text,
        }
        for caption in made_captions(root)
        if caption.image in images
    }
    return _write(root, "captions", wanted)


def update_prompts(root: Path) -> Counts:
    """Bring the queries up to date: captions of adapters whose family no model has learned from."""
    learned = {row.family for row in training(root).of("train")}
    captions = captions_of(root)
    wanted = {}
    for adapter in rows(root, "adapters"):
        if adapter["family"] in learned:
            continue
        for caption in (caption for image in adapter["renderings"] for caption in captions.get(image, ())):
            wanted[f"{adapter['sha256']}:{_caption_id(caption)}"] = {
                "adapter": adapter["sha256"],
                "family": adapter["family"],
                "image": caption.image,
                "length": caption.length,
                "text": caption.text,
            }
    return _write(root, "prompts", wanted)


def finish(root: Path) -> str:
    """Write digests/dataset.json over the rows of all tables and return the digest."""
    hashes: dict[str, str] = {}
    counts = {}
    for table, columns in TABLES.items():
        key = next(iter(columns))
        found = read_table(folder(root), table, [key, "row_hash"])
        hashes |= {f"{table}/{row[key]}": row["row_hash"] for row in found}
        counts[table] = len(found)
    return write_digest(root, "dataset", hashes, SCHEMA, tables=counts)


def _write(root: Path, table: str, wanted: Mapping[str, Row]) -> Counts:
    return bring_up_to_date(folder(root), table, TABLES[table], wanted, INEXACT)


def _accepted(root: Path) -> dict[str, tuple[Origins, Adapter]]:
    """Return each accepted file with its origins: the first seen first, of one day in the catalog's order."""
    pooled = pool.adapters(root)
    listings: dict[str, list[Listing]] = {}
    adapters: dict[str, Adapter] = {}
    for listing in sorted(catalog(root), key=lambda listing: listing.first_seen):
        adapter = pooled.get(listing.key)
        if adapter is not None and adapter.accepted:
            listings.setdefault(adapter.sha256, []).append(listing)
            adapters.setdefault(adapter.sha256, adapter)
    found = {sha256: (Origins(tuple(listings[sha256])), adapter) for sha256, adapter in adapters.items()}
    return dict(sorted(found.items(), key=lambda item: (item[1][0].first_seen, item[0])))


def _fingerprints(root: Path, adapters: Iterable[Adapter]) -> dict[str, Floats]:
    """Return adapter sha256 -> fingerprint; reads the sketches of newcomers only."""
    columns = ["sha256", "recipe", "fingerprint"]
    stored = (
        read_table(folder(root), "adapters", columns) if has_table(folder(root), "adapters", ADAPTERS) else []
    )
    known = {(row["sha256"], row["recipe"]): row["fingerprint"] for row in stored}
    found = {}
    for adapter in adapters:
        mark = known.get((adapter.sha256, adapter.recipe))
        if mark is None:
            (mark,) = pool.load_fingerprints(root, [adapter.sha256])
        found[adapter.sha256] = np.asarray(mark, dtype=np.float32)
    return found


def _settled(root: Path, params: DatasetParams) -> tuple[TrainingRow, ...]:
    """Return the lock's rows while it holds: their families and sides are settled."""
    lock = training(root)
    return lock.rows if lock.train_until == params.train_until else ()


def _pictures(
    origins: Origins, pictures: Mapping[str, PooledRendering]
) -> list[tuple[ListedRendering, PooledRendering]]:
    """Return an adapter's renderings that are in the pool, each picture once."""
    found: dict[str, tuple[ListedRendering, PooledRendering]] = {}
    for listed in origins.renderings:
        picture = pictures.get(listed.key)
        if picture is not None:
            found.setdefault(picture.sha256, (listed, picture))
    return list(found.values())


def _described(origins: Origins) -> Row:
    """Return what the hubs say about an adapter: its name by precedence, what it may be used for at the strictest."""
    named = origins.named
    return {
        "first_seen": origins.first_seen,
        "hub": named.hub,
        "id": named.id,
        "version": named.version,
        "file": named.file,
        "origins": origins.names,
        "license": named.license,
        **asdict(origins.permissions),
        "base_model": named.base_model,
        "base": named.base,
        "nsfw": origins.nsfw,
        "nsfw_level": origins.nsfw_level,
        "person": origins.person,
        "minor": origins.minor,
        "trigger_words": list(named.trigger_words),
        "listing_digest": origins.digest,
    }


def _measured(adapter: Adapter) -> Row:
    """Return what the pool found in an adapter."""
    return {
        "layout": adapter.layout,
        "num_slots": adapter.num_slots,
        "rank_max": adapter.rank_max,
        "norm": adapter.norm,
        "recipe": adapter.recipe,
    }


def _caption_id(caption: Caption) -> str:
    return hash_value([caption.image, caption.prompt, caption.vlm])
