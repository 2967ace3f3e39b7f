"""Downloading files and images of the catalog into the pool: in batches, verified, read once, and stored."""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from autolora.catalog import takedowns
from autolora.catalog.sources import ImageSource, Sources
from autolora.errors import DiskFull, DownloadsFailed, HubError, ReadingFailed, RefusedFile
from autolora.hubs import Hub
from autolora.lora.read import Reading, read_and_sketch
from autolora.lora.sketch import Sketch
from autolora.params import PoolParams
from autolora.pool import evicted
from autolora.pool import store as pool
from autolora.pool.batches import file_path
from autolora.pool.images import NOT_AN_IMAGE, reencode_image
from autolora.pool.recipe import ReadRecipe
from autolora.pool.tables import PoolTables
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering
from autolora.storage.files import MB, Row, raising_disk_full, raising_reading_failed, write_atomic
from autolora.storage.hashes import hash_file

T = TypeVar("T")
TableRow = tuple[str, Row]
"""name of a table of the pool, and a row for it"""
MAX_CONSECUTIVE_FAILURES = 20
"""after so many failed downloads of files (or of images) in a row, a hub gets no further requests for them"""

logger = logging.getLogger(__name__)


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Return consecutive slices of at most `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A LoRA file of the pool that has no row of the current recipe."""

    key: str
    """Listing.key"""
    url: str
    sha256: str


class Ingest:
    """Downloads that one run of the stage makes; thread-safe.

    It remembers completed downloads, so that a retried batch requests only the missing ones; failures per hub, so that
    a hub that only fails gets no further requests; and that the disk is full, so that no other download starts.
    """

    def __init__(
        self, tables: PoolTables, hubs: Mapping[str, Hub], recipe: ReadRecipe, max_file_mb: float
    ) -> None:
        """Initialize; max_file_mb: size limit in 10^6 bytes for files whose size the hub does not report."""
        self._tables, self._root = tables, tables.root
        self._hubs, self._recipe, self._max_file_mb = hubs, recipe, max_file_mb
        self._completed: set[str] = set()
        self._consecutive_failures: Counter[tuple[str, str]] = Counter()
        self._reasons: dict[str, str] = {}
        self._unread: set[str] = set()
        self._disk_full: DiskFull | None = None

    @property
    def num_completed(self) -> int:
        """The number of files and images that were downloaded or refused."""
        return len(self._completed)

    def fetch_adapters(self, batch: Sequence[Sources]) -> int:
        """Download and read a batch of files, append their rows, and return the number of rows.

        Raises DownloadsFailed at the end of the batch if files could not be downloaded or read, DiskFull at once.
        """
        stored = (self._stored_sha256(sources.primary) for sources in batch)
        evicted.fetch(self._root, "weights", filter(None, stored))  # in one process, not one for each
        return self._fetch((sources.primary.key, partial(self._adapter, sources)) for sources in batch)

    def fetch_renderings(self, batch: Sequence[ImageSource]) -> int:
        """Download and re-encode a batch of images, append their rows, and return the number of rows.

        Raises DownloadsFailed at the end of the batch if images could not be downloaded or read, DiskFull at once.
        """
        return self._fetch((image.key, partial(self._rendering, image)) for image in batch)

    def _fetch(self, wanted: Iterable[tuple[str, Callable[[], TableRow | None]]]) -> int:
        """Run the downloads that are not completed yet, append their rows, and return the number of rows.

        wanted: keys, each with its download, which returns None if no hub was requested.
        """
        rows: dict[str, list[Row]] = {}
        reasons: dict[str, str] = {}
        with self._raising_disk_full():
            try:
                for key, download in wanted:
                    try:
                        if key not in self._completed and (table_row := download()):
                            table, row = table_row
                            rows.setdefault(table, []).append(row)
                            self._reasons.pop(key, None)
                    except (HubError, ReadingFailed) as error:
                        self._reasons[key] = str(error)
                        self._unread |= {key} if isinstance(error, ReadingFailed) else set()
                    if key in self._reasons and key not in self._completed:
                        reasons[key] = self._reasons[key]
            finally:
                for table, table_rows in rows.items():
                    self._append(table, table_rows)
        if reasons:
            raise DownloadsFailed(reasons, reasons.keys() & self._unread)
        return sum(map(len, rows.values()))

    def _adapter(self, sources: Sources) -> TableRow | None:
        """Return the row of a file that the pool stores already, or download it from the first source that succeeds."""
        if (file := self.stored(sources)) and (row := read_stored(self._root, file, self._recipe)):
            return "adapters", row.to_row()
        downloads = [(listing.hub, partial(self._file, listing)) for listing in sources.listings]
        return self._first_success("files", downloads)

    def stored(self, sources: Sources) -> StoredFile | None:
        """Return the file of a listing if the pool stores it, on disk or in the remote only."""
        listing = sources.primary
        sha256 = self._stored_sha256(listing)
        if sha256 is None:
            return None
        is_here = file_path(self._root, "weights", sha256).exists()
        if not is_here and not evicted.is_remote_only(self._root, "weights", sha256):
            return None
        return StoredFile(key=listing.key, url=listing.url, sha256=sha256)

    def append_read(self, rows: Sequence[Row]) -> None:
        """Append rows of `read_again`, but those of another recipe."""
        self._append("adapters", [row for row in rows if row["recipe"] == self._recipe.digest])

    def _stored_sha256(self, listing: Listing) -> str | None:
        """Return the sha256 by which the pool may have a file; None if neither hub nor pool know it."""
        former = self._tables.adapters.get(listing.key)
        return listing.sha256 or (former.sha256 if former else None)

    def _file(self, listing: Listing) -> TableRow:
        hub = self._hubs[listing.hub]
        with raising_reading_failed(listing.url):
            row = _fetch_adapter(self._root, listing, hub, self._recipe, self._max_file_mb)
        return "adapters", row.to_row()

    def _rendering(self, image: ImageSource) -> TableRow | None:
        """Download an image from the first occurrence that succeeds; return its row, which may be a refusal."""
        downloads = [
            (listing.hub, partial(self._image, listing.hub, rendering))
            for listing, rendering in image.occurrences
        ]
        return self._first_success("images", downloads)

    def _image(self, hub: str, rendering: ListedRendering) -> TableRow:
        try:
            with raising_reading_failed(rendering.url):
                row = _fetch_rendering(self._root, rendering, self._hubs[hub], self._recipe.bounds)
            return "renderings", asdict(row)
        except RefusedFile as error:
            logger.warning("%s was refused: %s", rendering.url, error)
            return "refused", {"key": rendering.key, "code": error.code, "reason": str(error)}

    def _first_success(self, kind: str, downloads: Iterable[tuple[str, Callable[[], T]]]) -> T | None:
        """Return the result of the first download that succeeds, or None if no hub was requested.

        kind: "files" or "images". downloads: hub and download; hubs with MAX_CONSECUTIVE_FAILURES failures of this
        kind in a row are skipped. Raises HubError if all downloads that were tried failed,
        ReadingFailed if a downloaded one cannot be read, which is not a failure of its hub.
        """
        errors: list[str] = []
        for hub, download in downloads:
            if self._consecutive_failures[kind, hub] >= MAX_CONSECUTIVE_FAILURES:
                continue
            try:
                result = download()
            except HubError as error:
                self._consecutive_failures[kind, hub] += 1
                errors.append(str(error))
            else:
                self._consecutive_failures[kind, hub] = 0
                return result
        if not errors:
            return None
        raise HubError(" | ".join(dict.fromkeys(errors)))

    def _append(self, table: str, rows: Sequence[Row]) -> None:
        self._tables.append(table, rows)
        self._completed.update(row["key"] for row in rows)

    @contextmanager
    def _raising_disk_full(self) -> Iterator[None]:
        """Raise DiskFull if the block fails because the disk is full, and before every later block."""
        if self._disk_full:
            raise DiskFull(str(self._disk_full))
        try:
            with raising_disk_full(pool.folder(self._root)):
                yield
        except DiskFull as error:
            self._disk_full = error
            raise


def read_again(root: Path, recipe: ReadRecipe, files: Sequence[StoredFile]) -> Iterator[Row]:
    """Yield the rows of stored files; a file that is damaged or cannot be read is left out."""
    evicted.fetch(root, "weights", [file.sha256 for file in files])  # in one process, not one for each
    for file in files:
        with suppress(ReadingFailed):
            if row := read_stored(root, file, recipe):
                yield row.to_row()


def read_stored(root: Path, file: StoredFile, recipe: ReadRecipe) -> Adapter | None:
    """Read a stored file, save its sketch, and return its row; None if it is damaged. Raises ReadingFailed."""
    path = pool.weights_path(root, file.sha256)
    if not path.exists() or hash_file(path) != file.sha256:
        return None
    with raising_reading_failed(file.url):
        row, sketch = read_adapter(path.resolve(), file.key, file.sha256, recipe)
    if sketch:
        pool.save_sketch(root, file.sha256, sketch)
    return row


def read_adapter(path: Path, key: str, sha256: str, recipe: ReadRecipe) -> tuple[Adapter, Sketch | None]:
    """Read a LoRA file and return its row, and its sketch if it is accepted."""
    size = path.stat().st_size
    try:
        reading, sketch = read_and_sketch(path, recipe.slots, recipe.bounds, recipe.spec)
    except RefusedFile as error:
        logger.info("%s was refused: %s", key, error)
        return _refused(error, key=key, sha256=sha256, size=size, recipe=recipe.digest), None
    return _accepted(reading, sketch.norm, key=key, sha256=sha256, size=size, recipe=recipe.digest), sketch


def _fetch_adapter(root: Path, listing: Listing, hub: Hub, recipe: ReadRecipe, max_file_mb: float) -> Adapter:
    """Download a file and return its row; store its weights and sketch if it is accepted."""
    with _temporary_path(root) as path:
        sha256 = _download(listing, hub, path, max_file_mb)
        try:
            takedowns.read(root).check("weights", sha256)
        except RefusedFile as error:
            size = path.stat().st_size
            return _refused(error, key=listing.key, sha256=sha256, size=size, recipe=recipe.digest)
        row, sketch = read_adapter(path, listing.key, sha256, recipe)
        if sketch:
            pool.save_sketch(root, sha256, sketch)
        if sketch and not evicted.is_remote_only(root, "weights", sha256):
            target = file_path(root, "weights", sha256)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    return row


def _download(listing: Listing, hub: Hub, path: Path, max_file_mb: float) -> str:
    """Download a file to `path` and return its sha256. Raises HubError if size or sha256 differ from the listing."""
    limit = int(max_file_mb * MB) if listing.size is None else listing.size
    try:
        sha256 = hub.download(listing.url, path, limit)
    except RefusedFile as error:
        raise HubError(f"hub {hub.name}: {listing.url} does not match its listing: {error}") from error
    _check_hash(hub.name, listing.url, listing.sha256, sha256)
    return sha256


def _fetch_rendering(root: Path, rendering: ListedRendering, hub: Hub, bounds: PoolParams) -> PooledRendering:
    """Download, re-encode and store an image, and return its row.

    Raises HubError if the response is probably not the listed image, RefusedFile if the image itself is not valid.
    """
    with _temporary_path(root) as path:
        sha256 = hub.download(rendering.url, path, int(bounds.max_image_mb * MB))
        _check_hash(hub.name, rendering.url, rendering.sha256, sha256)
        takedowns.read(root).check("rendering", sha256)
        try:
            content, width, height = reencode_image(path, bounds)
        except RefusedFile as error:
            if error.code == NOT_AN_IMAGE and rendering.sha256 is None:
                raise HubError(
                    f"hub {hub.name}: {rendering.url} returned other content, or the download was corrupted: {error}"
                ) from error
            raise
    if not evicted.is_remote_only(root, "renderings", sha256):
        write_atomic(file_path(root, "renderings", sha256), content)
    return PooledRendering(key=rendering.key, sha256=sha256, width=width, height=height)


@contextmanager
def _temporary_path(root: Path) -> Iterator[Path]:
    """Yield a path for one download and remove the file afterwards if it is still there."""
    path = pool.incoming(root) / uuid.uuid4().hex
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check_hash(hub: str, url: str, listed: str | None, computed: str) -> None:
    if listed is not None and computed != listed:
        raise HubError(
            f"hub {hub}: hash mismatch: {url} has sha256 {computed}, but the hub lists {listed}; the file was discarded"
        )


def _accepted(reading: Reading, norm: float, *, key: str, sha256: str, size: int, recipe: str) -> Adapter:
    return Adapter(
        key=key,
        sha256=sha256,
        size=size,
        recipe=recipe,
        verdict=ACCEPTED,
        reason="",
        layout=reading.layout,
        num_slots=len(reading.updates),
        rank_max=max(update.rank for update in reading.updates.values()),
        norm=float(f"{norm:.6g}"),  # further digits depend on the number of threads that summed
        dtype=reading.dtype,
        keys_used=reading.keys_used,
        keys_seen=reading.keys_seen,
        ignored_keys=reading.ignored_keys,
        warnings=reading.warnings,
    )


def _refused(error: RefusedFile, *, key: str, sha256: str, size: int, recipe: str) -> Adapter:
    return Adapter(
        key=key,
        sha256=sha256,
        size=size,
        recipe=recipe,
        verdict=error.code,
        reason=str(error),
        layout=None,
        num_slots=0,
        rank_max=0,
        norm=0.0,
        dtype=None,
        keys_used=0,
        keys_seen=0,
        ignored_keys=(),
    )
