"""Stage `dataset`: LanceDB tables of adapters, renderings, captions and prompts, and the training lock.

Each table is a function of the catalog, the pool, the captions, the training lock and params.yaml. A run computes
the expected rows, compares their hashes with the hashes of the stored rows, and writes the difference.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from autolora.captions.store import CaptionRecipe, read_captions, read_recipe
from autolora.catalog.sources import Sources, precedence
from autolora.catalog.store import read_active
from autolora.dataset.families import Split, assign_families, assign_split
from autolora.dataset.store import (
    ADAPTERS,
    INEXACT,
    SCHEMA,
    TABLES,
    TRAINING_LOCK,
    TrainingRow,
    folder,
    group_by_image,
    rows,
    training_lock,
)
from autolora.hubs.descriptions import leave_out_shared
from autolora.lora.verdict import FULL_RANK
from autolora.params import DatasetParams
from autolora.pool import store as pool
from autolora.pool.drawings import Drawing, is_drawing, read_drawings
from autolora.records import Adapter, Caption, ListedRendering, Listing, PooledRendering
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, write_rows
from autolora.storage.git import restore_committed
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest
from autolora.storage.tables import Counts, has_table, hashes_in, read_arrow, sync_table, to_matrix

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PooledAdapter:
    """An accepted file with its listings and those of its renderings that are in the pool."""

    sources: Sources
    adapter: Adapter
    renderings: tuple[tuple[ListedRendering, PooledRendering], ...]
    """each image once; drawings if there is none"""

    @property
    def has_drawings(self) -> bool:
        """Whether the adapter is known by its own drawings, because no hub shows it."""
        return any(is_drawing(listed.url) for listed, _ in self.renderings)


@dataclass(frozen=True, slots=True, eq=False)
class DatasetSync:
    """The tables, and what they are computed from: catalog, pool and captions, read once for all steps of a run."""

    root: Path
    params: DatasetParams
    adapters: Mapping[str, PooledAdapter]
    """by sha256, sorted by first_seen and sha256"""
    captions: Mapping[str, tuple[Caption, ...]]
    """by image, sorted by length, prompt and VLM"""
    caption_ids: Mapping[Caption, str]
    recipe: CaptionRecipe | None
    """of the captions; None if the stage `captions` has not run"""

    def update_adapters(self) -> Counts:
        """Update the table of adapters: one row per file, named by its primary source."""
        restore_committed(self.root, TRAINING_LOCK)
        fingerprints = self._fingerprints()
        locked = {row.sha256: row for row in self._locked_rows()}
        families = assign_families(
            fingerprints, {sha256: row.family for sha256, row in locked.items()}, self.params.family_cosine
        )
        said = leave_out_shared({sha256: row.sources.description for sha256, row in self.adapters.items()})
        expected = {}
        for sha256, pooled in self.adapters.items():
            locked_split = locked[sha256].split if sha256 in locked else None
            family = families[sha256]
            expected[sha256] = {
                "family": family,
                "split": locked_split or self._assign_split(family),
                "renderings": [rendering.sha256 for _, rendering in pooled.renderings],
                "drawn": pooled.has_drawings,
                "captions_digest": self._captions_digest(pooled),
                "fingerprint": fingerprints[sha256],
                **_listing_columns(pooled.sources),
                "description": said[sha256],
                **_adapter_columns(pooled.adapter),
            }
        return self._sync("adapters", expected)

    def update_training_lock(self, *, always: bool = False) -> bool:
        """Write the training lock if it is missing, or its date or caption recipe has changed; return whether it was.

        New captions, images and adapters alone never change it, unless it is `always` written. LoKrs that are not
        low-rank are left out: the gates and the experiments need factors.
        """
        if self._is_lock_current() and not always:
            return False
        date, names = self.params.train_until, ("sha256", "family", "split")
        locked = [
            {name: row[name] for name in names}
            | {"renderings": list(filter(self._counts, row["renderings"]))}
            | ({"drawn": True} if row["drawn"] else {})
            for row in rows(self.root, "adapters", (*names, "renderings", "drawn", "first_seen", "warnings"))
            if row["first_seen"] <= date and FULL_RANK not in row["warnings"]
        ]
        recipe = self.recipe.to_row() if self.recipe else None
        write_rows(self.root / TRAINING_LOCK, [{"train_until": date.isoformat(), "recipe": recipe}, *locked])
        logger.info("training lock: %d adapters first seen up to %s", len(locked), date)
        return True

    def update_renderings(self) -> Counts:
        """Update the table of renderings: one row per adapter and image."""
        expected = {
            f"{sha256}:{rendering.sha256}": {
                "adapter": sha256,
                "image": rendering.sha256,
                "width": rendering.width,
                "height": rendering.height,
                "url": listed.url,
                "prompt": listed.prompt,
            }
            for sha256, pooled in self.adapters.items()
            for listed, rendering in pooled.renderings
        }
        return self._sync("renderings", expected)

    def update_captions(self) -> Counts:
        """Update the table of captions: one row per caption of an image of the dataset."""
        images = dict.fromkeys(
            rendering.sha256 for pooled in self.adapters.values() for _, rendering in pooled.renderings
        )
        expected = {
            self.caption_ids[caption]: {
                "image": caption.image,
                "prompt": caption.prompt,
                "vlm": caption.vlm,
                "length": caption.length,
                "text": caption.text,
            }
            for image in images
            for caption in self.captions.get(image, ())
        }
        return self._sync("captions", expected)

    def update_prompts(self) -> Counts:
        """Update the table of evaluation queries: captions of adapters of families that the models are not trained on.

        Their split is `validation` or `test`; an adapter that is newer than the training lock and that its family's
        hash assigns to the training split is unseen too, and its split is `test`.
        """
        training_families = {row.family for row in training_lock(self.root).in_split("train")}
        expected = {
            f"{adapter['sha256']}:{self.caption_ids[caption]}": {
                "adapter": adapter["sha256"],
                "family": adapter["family"],
                "split": "validation" if adapter["split"] == "validation" else "test",
                "image": caption.image,
                "length": caption.length,
                "text": caption.text,
            }
            for adapter in rows(self.root, "adapters", ("sha256", "family", "split", "renderings", "drawn"))
            if adapter["family"] not in training_families and not adapter["drawn"]
            for image in adapter["renderings"]
            for caption in self.captions.get(image, ())
        }
        return self._sync("prompts", expected)

    def finish(self) -> str:
        """Write digests/dataset.json over the rows of all tables; return its sha256."""
        hashes: dict[str, str] = {}
        counts = {}
        for table, columns in TABLES.items():
            stored = hashes_in(folder(self.root), table, columns)
            hashes |= {f"{table}/{key}": row_hash for key, row_hash in stored.items()}
            counts[table] = len(stored)
        return write_digest(self.root, "dataset", hashes, SCHEMA, tables=counts)

    def _assign_split(self, family: str) -> Split:
        params = self.params
        return assign_split(family, params.salt, params.test_share, params.validation_share)

    def _sync(self, table: str, expected: Mapping[str, Row]) -> Counts:
        return sync_table(folder(self.root), table, TABLES[table], expected, INEXACT)

    def _captions_digest(self, pooled: PooledAdapter) -> str:
        images = (rendering.sha256 for _, rendering in pooled.renderings)
        captions = (caption for image in images for caption in self.captions.get(image, ()))
        return hash_value([[self.caption_ids[caption], caption.text] for caption in captions])

    def _fingerprints(self) -> dict[str, Float32Array]:
        """Return adapter sha256 -> fingerprint; reads only the sketches of adapters that the table does not hold."""
        stored: dict[tuple[str, str], Float32Array] = {}
        if has_table(folder(self.root), "adapters", ADAPTERS):
            table = read_arrow(folder(self.root), "adapters", ["sha256", "recipe", "fingerprint"])
            keys = zip(table.column("sha256").to_pylist(), table.column("recipe").to_pylist(), strict=True)
            stored = dict(zip(keys, to_matrix(table.column("fingerprint")), strict=True))
        keys_of = {sha256: (sha256, pooled.adapter.recipe) for sha256, pooled in self.adapters.items()}
        new = [sha256 for sha256, key in keys_of.items() if key not in stored]
        stored |= {
            keys_of[sha256]: row
            for sha256, row in zip(new, pool.load_fingerprints(self.root, new), strict=True)
        }
        return {sha256: stored[key] for sha256, key in keys_of.items()}

    def _locked_rows(self) -> tuple[TrainingRow, ...]:
        """Return the rows whose family and split are fixed: those of the lock, unless it will be written again."""
        return training_lock(self.root).rows if self._is_lock_current() else ()

    def _is_lock_current(self) -> bool:
        lock = training_lock(self.root)
        return (lock.train_until, lock.recipe) == (self.params.train_until, self.recipe)

    def _counts(self, image: str) -> bool:
        """Return whether an image has captions that models may be trained on."""
        captions = self.captions.get(image, ())
        return any(self.recipe is None or self.recipe.made(caption) for caption in captions)


def open_sync(root: Path, params: DatasetParams) -> DatasetSync:
    """Read catalog, pool and captions. Raises MissingArtifact if the catalog does not exist."""
    captions = {_caption_id(caption): caption for caption in read_captions(root)}
    ids = {caption: caption_id for caption_id, caption in captions.items()}
    by_image = group_by_image(captions.values())
    return DatasetSync(root, params, _pooled_adapters(root), by_image, ids, read_recipe(root))


def _pooled_adapters(root: Path) -> dict[str, PooledAdapter]:
    """Return sha256 -> each accepted file, sorted by first_seen and sha256.

    The listings of a file are sorted by first_seen; listings of the same day are in the catalog's order.
    """
    rows_by_key, renderings = pool.adapters(root), pool.renderings(root)
    drawings = read_drawings(root)
    listings: dict[str, list[Listing]] = {}
    adapters: dict[str, Adapter] = {}
    for listing in sorted(read_active(root), key=precedence):
        adapter = rows_by_key.get(listing.key)
        if adapter is not None and adapter.accepted:
            listings.setdefault(adapter.sha256, []).append(listing)
            adapters.setdefault(adapter.sha256, adapter)
    sources = {sha256: Sources(tuple(group)) for sha256, group in listings.items()}
    return {
        sha256: PooledAdapter(
            sources[sha256],
            adapters[sha256],
            _pooled_renderings(sources[sha256], renderings) or _drawn(drawings.get(sha256, ())),
        )
        for sha256 in sorted(sources, key=lambda sha256: (sources[sha256].first_seen, sha256))
    }


def _pooled_renderings(
    sources: Sources, pooled: Mapping[str, PooledRendering]
) -> tuple[tuple[ListedRendering, PooledRendering], ...]:
    """Return those renderings of an adapter that are in the pool, each image once."""
    by_image: dict[str, tuple[ListedRendering, PooledRendering]] = {}
    for listed in sources.renderings:
        rendering = pooled.get(listed.key)
        if rendering is not None:
            by_image.setdefault(rendering.sha256, (listed, rendering))
    return tuple(by_image.values())


def _drawn(drawings: Sequence[Drawing]) -> tuple[tuple[ListedRendering, PooledRendering], ...]:
    """Return the drawings of an adapter in the form of renderings."""
    return tuple((drawing.listed, drawing.pooled) for drawing in drawings)


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
        "size": adapter.size,
        "warnings": list(adapter.warnings),
        "norm": adapter.norm,
        "recipe": adapter.recipe,
    }


def _caption_id(caption: Caption) -> str:
    return hash_value([caption.image, caption.prompt, caption.vlm])
