"""The stage `pool`: compares the pool with the catalog, closes the open batch, and writes tables and digest.

Nothing that a batch holds is removed: a file that the catalog does not list becomes inactive.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from autolora.catalog import failed_items
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.sources import ImageSource, Sources, group_sources, image_sources
from autolora.catalog.store import read_active
from autolora.errors import DownloadsFailed, HubError, ReadingFailed
from autolora.hubs.http.partial import prune_downloads
from autolora.pool import batches, evicted, sketch_packs
from autolora.pool import store as pool
from autolora.pool.drawings import read_drawings
from autolora.pool.near_duplicates import (
    NEAR_DUPLICATE,
    assign_verdicts,
    compare_new,
    near_duplicate_rows,
    should_be_stored,
    similar_pairs,
)
from autolora.pool.recipe import ReadRecipe
from autolora.pool.tables import PoolTables
from autolora.records import ACCEPTED, Adapter, Listing
from autolora.storage.files import raising_disk_full
from autolora.storage.incremental import pending, write_digest

SCHEMA = 3
"""version of the row layout"""
MAX_NAMES_IN_ERRORS = 10


class PoolSync:
    """Synchronizes the pool with the catalog; both are read once."""

    def __init__(self, root: Path, recipe: ReadRecipe) -> None:
        """Read catalog and tables, and complete what a killed run left. Raises MissingArtifact without a catalog."""
        self._root, self._recipe, self._recipe_digest = root, recipe, recipe.digest
        self._listings = read_active(root)
        self._files = group_sources(self._listings)
        with raising_disk_full(pool.folder(root)):
            batches.recover(root)
        self.tables = PoolTables(root)
        self._rows: dict[str, Adapter] = {}
        self._images: dict[str, ImageSource] = {}
        self._rows_at = (-1, -1)
        self._stored_before = _stored_keys(self.tables)
        self._failed_items = failed_items.read(root)

    def hubs(self) -> list[str]:
        """Return the names of the hubs of all listings, sorted."""
        return sorted({listing.hub for listing in self._listings})

    def missing_adapters(self) -> list[Sources]:
        """Return the files that the pool has not read with this recipe, in download order."""
        wanted = {(key, self._recipe_digest): sources for key, sources in self._files.items()}
        missing = pending(wanted, self._done_adapters()).add
        return [wanted[key] for key in sorted(missing, key=self._download_order)]

    def missing_renderings(self) -> list[ImageSource]:
        """Return the images of accepted adapters that the pool neither stores nor has refused, in download order."""
        return self._missing_of(self.images())

    def _missing_of(self, images: Mapping[str, ImageSource]) -> list[ImageSource]:
        missing = pending(images, self._done_renderings()).add
        return [images[key] for key in sorted(missing, key=lambda key: self._download_order((key,)))]

    def _download_order(self, key: tuple[str, ...]) -> tuple[object, ...]:
        """Return the sort key of a download: number of failed attempts, then key.

        Downloads that failed before come last; otherwise they could make the hub fail so often in a row that it gets
        no further requests.
        """
        failure = self._failed_items.get(key[0])
        return failure.failed_attempts if failure else 0, *key

    def compare_new_adapters(self) -> int:
        """Find the near-duplicates among new adapters and return the number of new adapters."""
        with raising_disk_full(pool.folder(self._root)):
            return compare_new(self.tables, _stored(self._rows_of_recipe().values()), self._recipe)

    def rows(self) -> dict[str, Adapter]:
        """Return the rows of all listed files read with this recipe, with final verdicts, sorted by Listing.key."""
        versions = self.tables.version("adapters"), self.tables.version("near_duplicates")
        if self._rows_at != versions:
            pairs = similar_pairs(self.tables, self._recipe)
            rows = assign_verdicts(self._rows_of_recipe(), self._listings, pairs)
            listings = (row for row in self._listings if row.key in rows and rows[row.key].accepted)
            self._rows, self._images, self._rows_at = rows, image_sources(listings), versions
        return self._rows

    def images(self) -> dict[str, ImageSource]:
        """Return the images of accepted files by ListedRendering.key."""
        self.rows()
        return self._images

    def finish(self, today: date, failures: Sequence[BaseException] = ()) -> list[str]:
        """Close the open batch, write tables and digest, and return the names of the new batches.

        failures: exceptions of the downloads. Raises the first that is not DownloadsFailed; if files or images are
        missing, records them as failed items and raises HubError. In both cases the open batch stays open.
        """
        missing_files, missing_images = self.missing_adapters(), self.missing_renderings()
        with raising_disk_full(pool.folder(self._root)):
            prune_downloads(pool.incoming(self._root), _urls(missing_files, missing_images))
            self._check_complete(missing_files, missing_images, failures, today)
            names = self._close_batches(today)
            self.write_tables()
        return names

    def write_tables(self) -> None:
        """Write tables and digest."""
        rows, pairs = self.rows(), similar_pairs(self.tables, self._recipe)
        near_duplicates = near_duplicate_rows(pairs, _stored(rows.values()), self._recipe)
        hashes = self.tables.write(rows, self.images(), near_duplicates)
        _write_digest(self._root, hashes, rows.values(), self._recipe_digest)

    def _close_batches(self, today: date) -> list[str]:
        """Close the open batch and its sketches, without files of a killed run that no row describes."""
        all_rows = self.tables.adapters.values()
        images = {row["sha256"] for row in self.tables.renderings.values()}
        images |= {drawing.image for rows in read_drawings(self._root).values() for drawing in rows}
        names = batches.close(self._root, {"weights": _stored(all_rows), "renderings": images}, today)
        of_recipe = (row for row in all_rows if row.recipe == self._recipe_digest)
        sketch_packs.close_packs(self._root, _stored(of_recipe), self._recipe_digest)
        batches.remove_open(self._root)
        return names

    def _check_complete(
        self,
        files: Sequence[Sources],
        images: Sequence[ImageSource],
        failures: Sequence[BaseException],
        today: date,
    ) -> None:
        """Record missing files and images as failed items, and raise HubError if there are any.

        Raises instead the first failure that is not DownloadsFailed, and ReadingFailed, without a record, if too many
        of all cannot be read, since the cause is then a general one.
        """
        reasons: dict[str, str] = {}
        unread: set[str] = set()
        for failure in failures:
            if not isinstance(failure, DownloadsFailed):
                raise failure
            reasons |= failure.reasons
            unread |= failure.unread
        for active in (self._files.keys(), self.images().keys()):
            _check_share({key: reasons[key] for key in unread & active}, len(active))
        missing = [self._failed_file(sources.primary, reasons, today) for sources in files]
        missing += [self._failed_image(image, reasons, today) for image in images]
        if missing or self._failed_items:
            wanted = self._files.keys() | image_sources(self._listings).keys()
            failed_items.record(self._root, "pool", missing, wanted, today)
        if missing:
            raise _missing_error(missing)

    def _failed_file(self, listing: Listing, reasons: Mapping[str, str], today: date) -> FailedItem:
        return self._failed_item(listing.key, listing, f"{listing.id}/{listing.file}", reasons, today)

    def _failed_image(self, image: ImageSource, reasons: Mapping[str, str], today: date) -> FailedItem:
        listing, rendering = image.primary
        return self._failed_item(image.key, listing, rendering.url, reasons, today)

    def _failed_item(
        self, key: str, listing: Listing, name: str, reasons: Mapping[str, str], today: date
    ) -> FailedItem:
        return FailedItem(
            stage="pool",
            key=key,
            hub=listing.hub,
            id=listing.id,
            name=name,
            reason=reasons.get(key, failed_items.NOT_REQUESTED),
            was_in_pool=key in self._stored_before,
            failed_attempts=int(key in reasons),
            last_attempt=today,
        )

    def _rows_of_recipe(self) -> dict[str, Adapter]:
        """Return the rows of listed files that were read with this recipe, sorted by Listing.key."""
        rows, recipe = self.tables.adapters, self._recipe_digest
        return {key: rows[key] for key in sorted(self._files) if key in rows and rows[key].recipe == recipe}

    def _done_adapters(self) -> set[tuple[str, str]]:
        """Return key and recipe of each file that was refused, or whose weights and sketch are present."""
        weights = evicted.stored_files(self._root, "weights")
        sketches = pool.find_sketches(self._root, self._recipe_digest)
        return {
            (key, row.recipe)
            for key, row in self.tables.adapters.items()
            if not should_be_stored(row) or (row.sha256 in weights and row.sha256 in sketches)
        }

    def _done_renderings(self) -> set[str]:
        """Return the keys of the images that were refused or are present."""
        images = evicted.stored_files(self._root, "renderings")
        stored = {key for key, row in self.tables.renderings.items() if row["sha256"] in images}
        return self.tables.refused.keys() | stored


def _stored_keys(tables: PoolTables) -> set[str]:
    """Return the keys of all files and images that the pool has stored, whether they are still present or not."""
    return {key for key, row in tables.adapters.items() if should_be_stored(row)} | tables.renderings.keys()


def _stored(rows: Iterable[Adapter]) -> set[str]:
    """Return the sha256 of the files whose weights and sketch the pool stores."""
    return {row.sha256 for row in rows if should_be_stored(row)}


def _urls(files: Iterable[Sources], images: Iterable[ImageSource]) -> Iterator[str]:
    yield from (listing.url for sources in files for listing in sources.listings)
    yield from (rendering.url for image in images for _, rendering in image.occurrences)


def _write_digest(root: Path, hashes: Mapping[str, str], rows: Collection[Adapter], recipe: str) -> None:
    """Write the digest. hashes: table and key -> row hash. rows: the active rows of files."""
    verdicts = [row.verdict for row in rows]
    counts = {"accepted": verdicts.count(ACCEPTED), "near_duplicates": verdicts.count(NEAR_DUPLICATE)}
    counts["refused"] = len(verdicts) - sum(counts.values())
    counts["renderings"] = sum(key.startswith("renderings:") for key in hashes)
    write_digest(root, "pool", hashes, SCHEMA, **counts, recipe=recipe)


def _check_share(unread: Mapping[str, str], total: int) -> None:
    """Raise ReadingFailed if too many of `total` files, or images, cannot be read. unread: key -> reason."""
    if failed_items.are_too_many(len(unread), total):
        raise ReadingFailed(
            f"{len(unread)} of {total} files or images cannot be read, too many to defer them: see the log, mend the "
            f"cause, then run `dvc repro` again (the first: {min(unread.values())})"
        )


def _missing_error(missing: Sequence[FailedItem]) -> HubError:
    """Return the error that names missing files and images with the reasons."""
    names = sorted(item.name for item in missing)
    shown = ", ".join(names[:MAX_NAMES_IN_ERRORS])
    more = f" and {len(names) - MAX_NAMES_IN_ERRORS} more" if len(names) > MAX_NAMES_IN_ERRORS else ""
    reasons = " | ".join([*dict.fromkeys(item.reason for item in missing)][:MAX_NAMES_IN_ERRORS])
    return HubError(
        f"{len(missing)} files or images of the catalog are missing from the pool: {shown}{more} ({reasons}). "
        "Completed downloads are kept. Run `dvc repro` again to download the rest; or crawl again "
        "(`dvc repro --force --single-item crawl`, as a refresh does), which defers new files and images whose "
        "download or reading failed"
    )
