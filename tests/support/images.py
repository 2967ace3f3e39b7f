"""A root with a catalog, a pool and real pictures, as the stage `pool` leaves it for `captions`."""

import datetime
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from autolora.pool import store as pool
from autolora.records import ACCEPTED, Adapter, ListedRendering, Listing, PooledRendering
from autolora.storage.files import hash_value, write_atomic, write_rows
from playground import world

DAY = datetime.date(2026, 1, 1)


def draw_pictures(count: int) -> list[bytes]:
    """Draw `count` scenes as PNG files."""
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(count):
        stream = io.BytesIO()
        world.draw(world.sample_scene(rng), rng).save(stream, "PNG")
        drawn.append(stream.getvalue())
    return drawn


def write_pictures(root: Path, shown: Mapping[str, Sequence[bytes]], refused: Sequence[str] = ()) -> None:
    """Write catalog and pool: adapter id -> its renderings (PNG bytes); `refused` ids have a bad verdict."""
    listings = [
        _listing(name, [_sha256(data) for data in pictures]) for name, pictures in sorted(shown.items())
    ]
    write_rows(root / "data/catalog.jsonl", [listing.to_row() for listing in listings])
    adapters = [_adapter(listing, "truncated" if listing.id in refused else ACCEPTED) for listing in listings]
    write_rows(root / "data/pool/adapters.jsonl", [a.to_row() for a in sorted(adapters, key=lambda a: a.key)])
    pictures = {_sha256(data): data for group in shown.values() for data in group}
    rows = [PooledRendering(key=key, sha256=key, width=64, height=64) for key in sorted(pictures)]
    write_rows(root / "data/pool/renderings.jsonl", [asdict(row) for row in rows])
    for sha256, data in pictures.items():
        write_atomic(pool.rendering_path(root, sha256), data)


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
        reason="" if verdict == ACCEPTED else "it ends early",
        layout="diffusers",
        num_slots=1,
        rank_max=2,
        norm=1.0,
        dtype="float32",
        keys_used=2,
        keys_seen=2,
        set_aside=(),
    )
