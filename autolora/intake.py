"""What enters the pool: batches of files, downloaded, compared with the catalog, read once, put in place."""

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from autolora import pool
from autolora.errors import HubError, RefusedFile
from autolora.files import hash_file, write_atomic
from autolora.hubs import MB, Hub
from autolora.lora.factors import Lora
from autolora.lora.read import Reading, read
from autolora.lora.sketch import Sketch, norm, sketch
from autolora.params import PoolParams
from autolora.pictures import redraw
from autolora.pool import Terms
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering

T = TypeVar("T")

logger = logging.getLogger(__name__)


def batches(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def fetch_adapters(
    root: Path, batch: Sequence[Listing], hubs: Mapping[str, Hub], terms: Terms, max_file_mb: float
) -> int:
    """Download and read what is pending of a batch of files, append their rows, and return their number.

    max_file_mb: the bound (10^6 bytes) where the hub does not tell a size.
    Raises HubError, when all others are done, that names the files that could not be had.
    """
    done = pool.done_adapters(root, {listing.key for listing in batch})
    rows, problems = [], []
    for listing in batch:
        if (listing.key, terms.recipe) in done:
            continue
        try:
            rows.append(_fetch_adapter(root, listing, hubs[listing.hub], terms, max_file_mb))
        except HubError as error:
            problems.append(error)
    pool.append(root, "adapters", [row.to_row() for row in rows])
    _raise_all(problems)
    return len(rows)


def fetch_renderings(
    root: Path, batch: Sequence[tuple[str, ListedRendering]], hubs: Mapping[str, Hub], bounds: PoolParams
) -> int:
    """Download and check what is pending of a batch of pictures, append their rows, and return their number.

    Raises HubError, when all others are done, that names the pictures that could not be had.
    """
    done = pool.done_renderings(root, {rendering.key for _, rendering in batch})
    rows, refused, problems = [], [], []
    for hub, rendering in batch:
        if rendering.key in done:
            continue
        try:
            rows.append(asdict(_fetch_rendering(root, rendering, hubs[hub], bounds)))
        except RefusedFile as error:
            logger.warning("%s was refused: %s", rendering.url, error)
            refused.append({"key": rendering.key, "code": error.code, "reason": str(error)})
        except HubError as error:
            problems.append(error)
    pool.append(root, "renderings", rows)
    pool.append(root, "refused", refused)
    _raise_all(problems)
    return len(rows) + len(refused)


def examine(path: Path, key: str, sha256: str, terms: Terms) -> tuple[Adapter, Sketch | None]:
    """Read a file once: its row, and its sketch where it is accepted."""
    size = path.stat().st_size
    try:
        reading = read(path, terms.slots, terms.bounds)
    except RefusedFile as error:
        logger.info("%s was refused: %s", key, error)
        return _refused(error, key=key, sha256=sha256, size=size, recipe=terms.recipe), None
    row = _accepted(reading, key=key, sha256=sha256, size=size, recipe=terms.recipe)
    return row, sketch(reading.lora, terms.slots, terms.spec)


def _fetch_adapter(root: Path, listing: Listing, hub: Hub, terms: Terms, max_file_mb: float) -> Adapter:
    """Bring one file into the pool: weights and sketch where it is accepted, a row in any case."""
    have = pool.weights_path(root, listing.sha256) if listing.sha256 else None
    if have and have.exists() and hash_file(have) == listing.sha256:
        row, sketched = examine(have, listing.key, have.stem, terms)
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
        content, width, height = redraw(path, bounds)
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


def _raise_all(problems: Sequence[HubError]) -> None:
    if problems:
        raise HubError(" | ".join(dict.fromkeys(str(problem) for problem in problems)))


def _accepted(reading: Reading, *, key: str, sha256: str, size: int, recipe: str) -> Adapter:
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
        norm=_rounded_norm(reading.lora),
        dtype=reading.dtype,
        keys_used=reading.keys_used,
        keys_seen=reading.keys_seen,
        set_aside=reading.set_aside,
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


def _rounded_norm(lora: Lora) -> float:
    """Round to 6 digits: the last ones depend on how many threads added them up."""
    return float(f"{norm(lora):.6g}")
