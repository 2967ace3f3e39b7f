"""A repository with catalog, pool and drawn images, in the state in which the stage `pool` leaves it for `captions`."""

import datetime
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autolora.catalog import store as catalog
from autolora.pool import store as pool
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering
from autolora.storage.files import write_atomic, write_rows
from autolora.storage.hashes import hash_value
from playground import world

DAY = datetime.date(2026, 1, 1)


def draw_images(count: int) -> list[bytes]:
    """Return the PNG bytes of `count` random scenes."""
    rng = np.random.default_rng(3)
    images = []
    for _ in range(count):
        stream = io.BytesIO()
        world.draw(world.sample_scene(rng), rng).save(stream, "PNG")
        images.append(stream.getvalue())
    return images


def write_pooled_images(
    root: Path, images: Mapping[str, Sequence[bytes]], refused: Sequence[str] = ()
) -> None:
    """Write catalog and pool.

    images: adapter id -> its renderings as PNG bytes. refused: ids of adapters whose file was refused.
    """
    listings = [_listing(name, [_sha256(data) for data in group]) for name, group in sorted(images.items())]
    catalog.write(root, listings)
    write_pool(root, listings, {_sha256(data): data for group in images.values() for data in group}, refused)


def write_pool(
    root: Path, listings: Sequence[Listing], images: Mapping[str, bytes], refused: Sequence[str] = ()
) -> None:
    """Write the pool of a catalog. images: ListedRendering.key, a sha256 -> PNG bytes. refused: ids of adapters."""
    adapters = [_adapter(listing, "truncated" if listing.id in refused else ACCEPTED) for listing in listings]
    adapters.sort(key=lambda adapter: adapter.key)
    write_rows(root / "data/pool/adapters.jsonl", [adapter.to_row() for adapter in adapters])
    keys = sorted({rendering.key for listing in listings for rendering in listing.renderings})
    rows = [PooledRendering(key=key, sha256=key, width=64, height=64) for key in keys]
    write_rows(root / "data/pool/renderings.jsonl", [asdict(row) for row in rows])
    for key in keys:
        write_atomic(pool.rendering_path(root, key), images[key])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _listing(name: str, images: Sequence[str]) -> Listing:
    return Listing(
        hub="huggingface",
        id=name,
        version="a" * 40,
        file="lora.safetensors",
        url=f"http://127.0.0.1/{name}",
        size=1000,
        sha256=hash_value(name),
        license=None,
        base_model=None,
        nsfw=False,
        trigger_words=(),
        renderings=tuple(ListedRendering(url=f"http://127.0.0.1/{i}", sha256=i, prompt=None) for i in images),
        first_seen=DAY,
    )


def _adapter(listing: Listing, verdict: str) -> Adapter:
    return Adapter(
        key=listing.key,
        sha256=listing.key,
        size=1000,
        recipe="r" * 64,
        verdict=verdict,
        reason="" if verdict == ACCEPTED else "the file ends early",
        layout="diffusers",
        num_slots=1,
        rank_max=2,
        norm=1.0,
        dtype="float32",
        keys_used=2,
        keys_seen=2,
        ignored_keys=(),
    )
