"""The stage `pool`: compares the pool with the catalog, removes what is not listed, and writes tables and digest."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from pathlib import Path

from autolora.catalog import failed_downloads
from autolora.catalog.failed_downloads import FailedDownload
from autolora.catalog.sources import ImageSource, Sources, group_sources, image_sources
from autolora.catalog.store import read_active
from autolora.errors import DownloadsFailed, HubError
from autolora.hubs.http.partial import prune_downloads
from autolora.pool import store as pool
from autolora.pool.near_duplicates import (
    NEAR_DUPLICATE,
    assign_verdicts,
    compare_new,
    near_duplicate_rows,
    read_similar_pairs,
    should_be_stored,
)
from autolora.pool.recipe import ReadRecipe
from autolora.records import ACCEPTED, Adapter, Listing
from autolora.storage.files import Row, raising_disk_full, write_atomic, write_rows
from autolora.storage.hashes import canonical_json, hash_value
from autolora.storage.incremental import pending, write_digest

SCHEMA = 3
"""version of the row layout"""
INEXACT = frozenset({"norm", "reason"})
"""floating-point results, which differ between processors; the `reason` of a near-duplicate states its cosine"""
MAX_NAMES_IN_ERRORS = 10


class PoolSync:
    """Synchronizes the pool with the catalog, which is read once."""

    def __init__(self, root: Path, recipe: ReadRecipe) -> None:
        """Read the catalog. Raises MissingArtifact if it does not exist."""
        self._root, self._recipe = root, recipe
        self._listings = read_active(root)
        self._files = group_sources(self._listings)
        self._known_keys, self._failed_downloads = _known_keys(root), failed_downloads.read(root)

    def hubs(self) -> list[str]:
        """Return the names of the hubs of all listings, sorted."""
        return sorted({listing.hub for listing in self._listings})

    def missing_adapters(self) -> list[Sources]:
        """Return the files that the pool has not read with this recipe, in download order."""
        wanted = {(key, self._recipe.digest): sources for key, sources in self._files.items()}
        missing = pending(wanted, _done_adapters(self._root)).add
        return [wanted[key] for key in sorted(missing, key=self._download_order)]

    def missing_renderings(self) -> list[ImageSource]:
        """Return the images of accepted adapters that the pool neither stores nor has refused, in download order."""
        wanted = self._images(self.rows())
        missing = pending(wanted, _done_renderings(self._root)).add
        return [wanted[key] for key in sorted(missing, key=lambda key: self._download_order((key,)))]

    def _download_order(self, key: tuple[str, ...]) -> tuple[object, ...]:
        """Return the sort key of a download: number of failed attempts, then key.

        Downloads that failed before come last; otherwise they could make the hub fail so often in a row that it gets
        no further requests.
        """
        failure = self._failed_downloads.get(key[0])
        return failure.failed_attempts if failure else 0, *key

    def compare_new_adapters(self) -> int:
        """Find the near-duplicates among new adapters and return the number of new adapters."""
        with raising_disk_full(pool.folder(self._root)):
            return compare_new(self._root, _stored(self._rows_of_recipe()), self._recipe)

    def rows(self) -> dict[str, Adapter]:
        """Return the rows of all listed files read with this recipe, with final verdicts, sorted by Listing.key."""
        pairs = read_similar_pairs(self._root, self._recipe)
        return assign_verdicts(self._rows_of_recipe(), self._listings, pairs)

    def finish(self, today: date, failures: Sequence[BaseException] = ()) -> None:
        """Remove files and rows that the catalog does not list, and write tables and digest.

        failures: exceptions of the downloads. Raises the first that is not DownloadsFailed; if files or images are
        missing, records them as failed downloads and raises HubError. In both cases no file of the pool is removed.
        """
        rows = self.rows()
        files, images = self.missing_adapters(), self.missing_renderings()
        with raising_disk_full(pool.folder(self._root)):
            prune_downloads(pool.incoming(self._root), _urls(files, images))
            self._check_complete(files, images, failures, today)
            stored = _remove_unreferenced(self._root, self._wanted_files(rows))
            tables = self._write_tables(rows)
            _write_inventory(self._root, stored | {"refused": [row["key"] for row in tables["refused"]]})
            _write_digest(self._root, tables)

    def _check_complete(
        self,
        files: Sequence[Sources],
        images: Sequence[ImageSource],
        failures: Sequence[BaseException],
        today: date,
    ) -> None:
        """Record missing files and images as failed downloads, and raise HubError if there are any.

        Raises instead the first failure that is not DownloadsFailed.
        """
        reasons: dict[str, str] = {}
        for failure in failures:
            if not isinstance(failure, DownloadsFailed):
                raise failure
            reasons |= failure.reasons
        missing = [self._failed_file(sources.primary, reasons, today) for sources in files]
        missing += [self._failed_image(image, reasons, today) for image in images]
        wanted = self._files.keys() | image_sources(self._listings).keys()
        failed_downloads.record(self._root, missing, wanted, today)
        if missing:
            raise _missing_error(missing)

    def _failed_file(self, listing: Listing, reasons: Mapping[str, str], today: date) -> FailedDownload:
        return self._failed_download(listing.key, listing, f"{listing.id}/{listing.file}", reasons, today)

    def _failed_image(self, image: ImageSource, reasons: Mapping[str, str], today: date) -> FailedDownload:
        listing, rendering = image.primary
        return self._failed_download(image.key, listing, rendering.url, reasons, today)

    def _failed_download(
        self, key: str, listing: Listing, name: str, reasons: Mapping[str, str], today: date
    ) -> FailedDownload:
        return FailedDownload(
            key=key,
            hub=listing.hub,
            id=listing.id,
            name=name,
            reason=reasons.get(key, failed_downloads.NOT_REQUESTED),
            was_in_pool=key in self._known_keys,
            failed_attempts=int(key in reasons),
            last_attempt=today,
        )

    def _rows_of_recipe(self) -> dict[str, Adapter]:
        """Return the stored rows of listed files that were read with this recipe, sorted by Listing.key."""
        rows, recipe = pool.adapters(self._root), self._recipe.digest
        return {key: rows[key] for key in sorted(self._files) if key in rows and rows[key].recipe == recipe}

    def _images(self, rows: Mapping[str, Adapter]) -> dict[str, ImageSource]:
        """Return the images of accepted files by ListedRendering.key."""
        return image_sources(row for row in self._listings if row.key in rows and rows[row.key].accepted)

    def _write_tables(self, rows: Mapping[str, Adapter]) -> dict[str, list[Row]]:
        """Write all tables, sorted by key, and return those that the digest covers."""
        keys = sorted(self._images(rows))
        renderings, refused = pool.renderings(self._root), pool.refused_renderings(self._root)
        tables = {
            "adapters": [row.to_row() for row in rows.values()],
            "renderings": [asdict(renderings[key]) for key in keys if key in renderings],
            "refused": [asdict(refused[key]) for key in keys if key in refused],
        }
        pairs = read_similar_pairs(self._root, self._recipe)
        near_duplicates = near_duplicate_rows(pairs, _stored(rows), self._recipe)
        for name, table in (*tables.items(), ("near_duplicates", near_duplicates)):
            _write_table(pool.table_path(self._root, name), table, keep_empty=name in pool.TRACKED)
        return tables

    def _wanted_files(self, rows: Mapping[str, Adapter]) -> dict[str, set[Path]]:
        """Return the files that each folder should contain, weights of files that are still to be read included."""
        root, renderings = self._root, pool.renderings(self._root)
        images = {renderings[key].sha256 for key in self._images(rows).keys() & renderings.keys()}
        unread = {listing.sha256 for listing in self._listings if listing.sha256 and listing.key not in rows}
        stored = _stored(rows)
        return {
            "weights": {pool.weights_path(root, sha256) for sha256 in stored | unread},
            "sketches": {pool.sketch_path(root, sha256) for sha256 in stored},
            "renderings": {pool.rendering_path(root, sha256) for sha256 in images},
        }


def _done_adapters(root: Path) -> set[tuple[str, str]]:
    """Return key and recipe of each file that was refused, or whose weights and sketch are present."""
    return {
        (key, row.recipe)
        for key, row in pool.adapters(root).items()
        if not should_be_stored(row) or _has_files(root, row.sha256)
    }


def _known_keys(root: Path) -> set[str]:
    """Return the keys of all files and images in the pool's tables, refused ones included."""
    tables = pool.adapters(root), pool.renderings(root), pool.refused_renderings(root)
    return {key for table in tables for key in table}


def _has_files(root: Path, sha256: str) -> bool:
    return pool.weights_path(root, sha256).exists() and pool.sketch_path(root, sha256).exists()


def _done_renderings(root: Path) -> set[str]:
    """Return the keys of the images that were refused or are present."""
    renderings = pool.renderings(root).items()
    return pool.refused_renderings(root).keys() | {
        key for key, row in renderings if pool.rendering_path(root, row.sha256).exists()
    }


def _stored(rows: Mapping[str, Adapter]) -> set[str]:
    """Return the sha256 of the files whose weights and sketch the pool stores."""
    return {row.sha256 for row in rows.values() if should_be_stored(row)}


def _urls(files: Iterable[Sources], images: Iterable[ImageSource]) -> Iterator[str]:
    yield from (listing.url for sources in files for listing in sources.listings)
    yield from (rendering.url for image in images for _, rendering in image.occurrences)


def _write_table(path: Path, table: Sequence[Row], keep_empty: bool) -> None:
    """Write a table; if it is empty, remove the file unless `keep_empty`."""
    if table or keep_empty:
        write_rows(path, table)
    else:
        path.unlink(missing_ok=True)


def _remove_unreferenced(root: Path, wanted: Mapping[str, set[Path]]) -> dict[str, list[str]]:
    """Remove files that are not wanted and folders that become empty; return the remaining files by folder, sorted."""
    remaining = {}
    for name in pool.FOLDERS:
        wanted_names = {f"{path.parent.name}/{path.name}" for path in wanted[name]}
        names = set(_files(pool.folder(root) / name))
        for unreferenced in names - wanted_names:
            path = pool.folder(root) / name / unreferenced
            path.unlink()
            with suppress(OSError):  # the folder contains other files
                path.parent.rmdir()
        remaining[name] = sorted(names & wanted_names)
    return remaining


def _write_inventory(root: Path, content: Mapping[str, Sequence[str]]) -> None:
    """Write files.json: the number of files per folder and one sha256 over all names.

    DVC does not track the folders, so this file is the output by which it notices that they differ.
    """
    inventory = {name: len(files) for name, files in content.items()} | {"sha256": hash_value(content)}
    write_atomic(pool.inventory_path(root), canonical_json(inventory) + "\n")


def _files(folder: Path) -> Iterator[str]:
    """Yield the files of a sharded folder as ab/name."""
    if folder.is_dir():
        for shard in os.scandir(folder):
            yield from (f"{shard.name}/{entry.name}" for entry in os.scandir(shard.path))


def _write_digest(root: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    hashes = {f"{name}:{row['key']}": _identity(row) for name, table in tables.items() for row in table}
    verdicts = [row["verdict"] for row in tables["adapters"]]
    counts = {"accepted": verdicts.count(ACCEPTED), "near_duplicates": verdicts.count(NEAR_DUPLICATE)}
    refused = len(verdicts) - sum(counts.values())
    write_digest(
        root, "pool", hashes, SCHEMA, **counts, refused=refused, renderings=len(tables["renderings"])
    )


def _identity(row: Row) -> str:
    """Return the hash of a row without fields that hold floating-point results."""
    return hash_value({name: value for name, value in row.items() if name not in INEXACT})


def _missing_error(missing: Sequence[FailedDownload]) -> HubError:
    """Return the error that names missing files and images with the reasons."""
    names = sorted(download.name for download in missing)
    shown = ", ".join(names[:MAX_NAMES_IN_ERRORS])
    more = f" and {len(names) - MAX_NAMES_IN_ERRORS} more" if len(names) > MAX_NAMES_IN_ERRORS else ""
    reasons = " | ".join([*dict.fromkeys(download.reason for download in missing)][:MAX_NAMES_IN_ERRORS])
    return HubError(
        f"{len(missing)} files or images of the catalog are missing from the pool: {shown}{more} ({reasons}). "
        "Completed downloads are kept. Run `dvc repro` again to download the rest; or crawl again "
        "(`dvc repro --force --single-item crawl`, as a refresh does), which defers new files and images whose "
        "download failed"
    )
