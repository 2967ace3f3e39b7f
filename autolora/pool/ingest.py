"""What enters the pool: batches of files, downloaded, compared with the catalog, read once, put in place."""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TypeVar

from autolora.catalog.sources import Origins, Shown
from autolora.errors import DiskFull, HubError, NotGiven, RefusedFile
from autolora.hubs import MB, Hub
from autolora.lora.read import Reading, read
from autolora.lora.sketch import Sketch, sketch_and_norm
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.pool.images import NOT_AN_IMAGE, redraw
from autolora.pool.recipe import Terms
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering
from autolora.storage.files import Row, hash_file, room, write_atomic

T = TypeVar("T")
IN_A_ROW = 20
"""files or pictures that a hub may fail to give one after the other before it is asked for no more of them"""

logger = logging.getLogger(__name__)


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


class Intake:
    """Brings in what the catalog lists. It remembers what has arrived, so that a batch that is tried again asks for
    the rest only, that a hub gives nothing any more, and that the disk is full, so that no further download is begun.
    Safe from several threads."""

    def __init__(self, root: Path, hubs: Mapping[str, Hub], terms: Terms, max_file_mb: float) -> None:
        """Set up; max_file_mb: the bound (10^6 bytes) where a hub does not tell a size."""
        self._root, self._hubs, self._terms, self._max_file_mb = root, hubs, terms, max_file_mb
        self._arrived: set[str] = set()
        self._in_a_row: Counter[tuple[str, str]] = Counter()
        self._reasons: dict[str, str] = {}
        self._full: DiskFull | None = None

    @property
    def arrived(self) -> int:
        """How many files and pictures have arrived."""
        return len(self._arrived)

    def fetch_adapters(self, batch: Sequence[Origins]) -> int:
        """Download and read a batch of files, append their rows, and return their number.

        Raises NotGiven, when all others are done, for the files that could not be had; DiskFull at once.
        """
        return self._fetch((origins.named.key, partial(self._adapter, origins)) for origins in batch)

    def fetch_renderings(self, batch: Sequence[Shown]) -> int:
        """Download and check a batch of pictures, append their rows, and return their number.

        Raises NotGiven, when all others are done, for the pictures that could not be had; DiskFull at once.
        """
        return self._fetch((picture.key, partial(self._rendering, picture)) for picture in batch)

    def _fetch(self, wanted: Iterable[tuple[str, Callable[[], tuple[str, Row] | None]]]) -> int:
        """Fetch what has not arrived yet, append its rows, and return their number.

        wanted: keys, each with a function that returns a table's name and the row; None where no hub was asked.
        """
        rows: dict[str, list[Row]] = {}
        reasons: dict[str, str] = {}
        with self._room():
            try:
                for key, bring in wanted:
                    try:
                        if key not in self._arrived and (brought := bring()):
                            rows.setdefault(brought[0], []).append(brought[1])
                            self._reasons.pop(key, None)
                    except HubError as error:
                        self._reasons[key] = str(error)
                    if key in self._reasons and key not in self._arrived:
                        reasons[key] = self._reasons[key]
            finally:
                for table, found in rows.items():
                    self._append(table, found)
        if reasons:
            raise NotGiven(reasons)
        return sum(map(len, rows.values()))

    def _adapter(self, origins: Origins) -> tuple[str, Row] | None:
        """Bring in one file from the first origin that gives it."""
        return self._first("files", [(one.hub, partial(self._file, one)) for one in origins.listings])

    def _file(self, listing: Listing) -> tuple[str, Row]:
        hub = self._hubs[listing.hub]
        return "adapters", _fetch_adapter(self._root, listing, hub, self._terms, self._max_file_mb).to_row()

    def _rendering(self, shown: Shown) -> tuple[str, Row] | None:
        """Bring in one picture, from the first place that gives it, or the reason why it is none."""
        return self._first(
            "pictures", [(row.hub, partial(self._picture, row.hub, listed)) for row, listed in shown.places]
        )

    def _picture(self, hub: str, listed: ListedRendering) -> tuple[str, Row]:
        try:
            return "renderings", asdict(
                _fetch_rendering(self._root, listed, self._hubs[hub], self._terms.bounds)
            )
        except RefusedFile as error:
            logger.warning("%s was refused: %s", listed.url, error)
            return "refused", {"key": listed.key, "code": error.code, "reason": str(error)}

    def _first(self, kind: str, places: Iterable[tuple[str, Callable[[], T]]]) -> T | None:
        """Return what the first hub gives; one that gave nothing IN_A_ROW times is asked no more, None where that are
        all.

        kind: what is asked for. Raises HubError when it was asked for and no hub gives it.
        """
        problems: list[str] = []
        for hub, bring in places:
            if self._in_a_row[kind, hub] >= IN_A_ROW:
                continue
            try:
                found = bring()
            except HubError as error:
                self._in_a_row[kind, hub] += 1
                problems.append(str(error))
            else:
                self._in_a_row[kind, hub] = 0
                return found
        if not problems:
            return None
        raise HubError(" | ".join(dict.fromkeys(problems)))

    def _append(self, table: str, rows: Sequence[Row]) -> None:
        pool.append(self._root, table, rows)
        self._arrived.update(row["key"] for row in rows)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Raise DiskFull where the block runs out of space, and from then on before anything is begun."""
        if self._full:
            raise DiskFull(str(self._full))
        try:
            with room(pool.folder(self._root)):
                yield
        except DiskFull as error:
            self._full = error
            raise


def examine(path: Path, key: str, sha256: str, terms: Terms) -> tuple[Adapter, Sketch | None]:
    """Read a file once: its row, and its sketch where it is accepted."""
    size = path.stat().st_size
    try:
        reading = read(path, terms.slots, terms.bounds)
    except RefusedFile as error:
        logger.info("%s was refused: %s", key, error)
        return _refused(error, key=key, sha256=sha256, size=size, recipe=terms.recipe), None
    made, norm = sketch_and_norm(reading.lora, terms.slots, terms.spec)
    return _accepted(reading, norm, key=key, sha256=sha256, size=size, recipe=terms.recipe), made


def _fetch_adapter(root: Path, listing: Listing, hub: Hub, terms: Terms, max_file_mb: float) -> Adapter:
    """Bring one file into the pool: weights and sketch where it is accepted, a row in any case."""
    have = pool.weights_path(root, listing.sha256) if listing.sha256 else None
    if have and have.exists() and hash_file(have) == listing.sha256:
        row, sketched = examine(have.resolve(), listing.key, have.stem, terms)
        if sketched:
            pool.save_sketch(root, row.sha256, sketched)
        return row
    with _temporary(root) as path:
        sha256 = _download(listing, hub, path, max_file_mb)
        row, sketched = examine(path, listing.key, sha256, terms)
        if sketched:
            pool.save_sketch(root, sha256, sketched)
            place = pool.weights_path(root, sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)
    return row


def _download(listing: Listing, hub: Hub, path: Path, max_file_mb: float) -> str:
    """Download a file and compare it with what the hub listed."""
    limit = int(max_file_mb * MB) if listing.size is None else listing.size
    try:
        sha256 = hub.download(listing.url, path, limit)
    except RefusedFile as error:
        raise HubError(f"hub {hub.name}: {listing.url} is not what was listed: {error}") from error
    _check_hash(hub.name, listing.url, listing.sha256, sha256)
    return sha256


def _fetch_rendering(root: Path, rendering: ListedRendering, hub: Hub, bounds: PoolParams) -> PooledRendering:
    with _temporary(root) as path:
        sha256 = hub.download(rendering.url, path, int(bounds.max_image_mb * MB))
        _check_hash(hub.name, rendering.url, rendering.sha256, sha256)
        try:
            content, width, height = redraw(path, bounds)
        except RefusedFile as error:
            if error.code == NOT_AN_IMAGE and rendering.sha256 is None:
                raise HubError(
                    f"hub {hub.name}: {rendering.url} sent something else, or it was damaged on the way: {error}"
                ) from error
            raise
    write_atomic(pool.rendering_path(root, sha256), content)
    return PooledRendering(key=rendering.key, sha256=sha256, width=width, height=height)


@contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """Yield a place for one download; what is left there afterwards is removed."""
    path = pool.incoming(root) / uuid.uuid4().hex
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check_hash(hub: str, url: str, listed: str | None, found: str) -> None:
    if listed is not None and found != listed:
        raise HubError(
            f"hub {hub}: hash mismatch: {url} has sha256 {found}, listed was {listed}; nothing was kept"
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
        num_slots=len(reading.lora),
        rank_max=max(factors.rank for factors in reading.lora.values()),
        norm=_rounded(norm),
        dtype=reading.dtype,
        keys_used=reading.keys_used,
        keys_seen=reading.keys_seen,
        set_aside=reading.set_aside,
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
        set_aside=(),
    )


def _rounded(norm: float) -> float:
    """Round to 6 digits: the last ones depend on how many threads added them up."""
    return float(f"{norm:.6g}")
