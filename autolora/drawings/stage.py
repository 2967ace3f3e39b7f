"""Stage `drawings`: an accepted adapter without renderings draws some with the base model, to be known by.

What an adapter draws is captioned like the rendering of a hub, and finds it; a hub's rendering of it is preferred as
soon as there is one. A row is written after its images, and an image that the pool has is not drawn again, so a killed
run goes on where it ended, and an adapter that left and comes back is not drawn twice.
"""

import hashlib
import io
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.catalog import takedowns
from autolora.catalog.sources import Sources, group_sources
from autolora.catalog.store import read_active
from autolora.drawings.recipe import PROMPTS, SCHEMA, SEED, Base
from autolora.hubs.folder.header_facts import read_facts
from autolora.lora.read import read_header
from autolora.lora.verdict import FULL_RANK
from autolora.params import DrawingsParams, PoolParams
from autolora.pool import batches, evicted
from autolora.pool import store as pool
from autolora.pool.drawings import Drawing, drawings_path, read_drawings
from autolora.storage.files import Row, append_rows, write_atomic, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest

if TYPE_CHECKING:  # the caller passes the generator, so a plan imports no torch
    from PIL import Image

    from autolora.generation.images import Generator

NOTHING_KNOWN = "a picture"
"""the word of an adapter without trigger words and training tags"""
MAX_TAGS = 3

logger = logging.getLogger(__name__)


def plan(root: Path, params: DrawingsParams, base: Base, today: date) -> list[tuple[Drawing, ...]]:
    """Return the drawings that are missing, by adapter, of the newest adapters first.

    At most `params.per_day` adapters draw on a day. What the pool has an image of is among them too, but costs nothing.
    """
    if params.per_day == 0:
        return []
    done = _done(root, base)
    stored, taken_down = evicted.stored_files(root, "renderings"), takedowns.read(root)
    wanted = []
    free = None if params.per_day is None else params.per_day - _num_drawn(root, today)
    for sha256, sources in _drawing(root, params).items():
        if sha256 in done:
            continue
        rows = _drawings(root, sha256, sources, base, today)
        if any(taken_down.lists("rendering", row.image) for row in rows):
            continue
        if free is not None and not {row.image for row in rows} <= stored:
            if free <= 0:
                continue
            free -= 1
        wanted.append(rows)
    return wanted


def waiting(root: Path, params: DrawingsParams, base: Base) -> tuple[list[str], list[str]]:
    """Return the ids of the adapters that could draw and have not, and of those that must not: the params forbid it."""
    done, drawable = _done(root, base), _drawing(root, params)
    free = [sources.primary.id for sha256, sources in drawable.items() if sha256 not in done]
    others = _without_renderings(root).values()
    return sorted(free), sorted(sources.primary.id for sources in others if not _may_draw(sources, params))


def draw(root: Path, base: Base, rows: Sequence[Drawing], generator: "Generator") -> Iterator[Row]:
    """Draw what the pool does not have of one adapter's drawings, write the images, then yield all rows.

    Raises MissingArtifact or MismatchError if weights or base model are missing, or do not fit.
    """
    missing = [row for row in rows if not pool.has_rendering(root, row.image)]
    for row, image in zip(missing, _draw_images(missing, base, generator), strict=True):
        content = io.BytesIO()
        image.convert("RGB").save(content, "PNG")
        write_atomic(batches.file_path(root, "renderings", row.image), content.getvalue())
    yield from (row.to_row() for row in rows)


def _draw_images(rows: Sequence[Drawing], base: Base, generator: "Generator") -> "list[Image.Image]":
    """Return the images of drawings of one adapter."""
    from autolora.fusion.rules import Adapter  # here, because they import torch
    from autolora.generation.images import draw as draw_images

    if not rows:
        return []
    adapter = Adapter(rows[0].adapter, generator.load_lora(rows[0].adapter))
    prompts, seeds = [row.prompt for row in rows], [row.seed for row in rows]
    return draw_images(generator, prompts, [adapter], seeds, method="direct", params=base.generation)


def store(root: Path, rows: Iterable[Row]) -> int:
    """Append rows to the table and return their number."""
    new = list(rows)
    if new:
        append_rows(drawings_path(root), new)
    return len(new)


def finish(root: Path, today: date) -> str:
    """Close the batch of new images, write the digest and return its sha256.

    Rows of adapters that left, or that a hub shows by now, are removed.
    """
    drawing = _without_renderings(root)
    kept = {
        adapter: rows
        for adapter, rows in read_drawings(root).items()
        if adapter in drawing and all(pool.has_rendering(root, row.image) for row in rows)
    }
    drawings = [row for adapter in sorted(kept) for row in kept[adapter]]
    wanted = {"weights": (), "renderings": {row.image for row in drawings}}
    batches.close(root, wanted, today, keep_others=True)
    batches.remove_open(root)
    write_rows(drawings_path(root), [row.to_row() for row in drawings])
    hashes = {row.image: hash_value(row.to_row() | {"day": None}) for row in drawings}
    return write_digest(root, "drawings", hashes, SCHEMA, adapters=len(kept))


def _done(root: Path, base: Base) -> set[str]:
    """Return the adapters that have drawn by this recipe."""
    drawn = read_drawings(root).items()
    return {adapter for adapter, rows in drawn if all(row.recipe == base.recipe for row in rows)}


def _num_drawn(root: Path, today: date) -> int:
    return sum(rows[0].day == today.isoformat() for rows in read_drawings(root).values())


def _without_renderings(root: Path) -> Mapping[str, Sources]:
    """Return sha256 -> sources of the accepted adapters for which no hub lists a rendering.

    An adapter whose images cannot be downloaded waits for them, also while the catalog defers these.
    """
    adapters = pool.adapters(root)
    listings = [row for row in read_active(root) if row.key in adapters and adapters[row.key].accepted]
    groups = group_sources(listings, lambda row: adapters[row.key].sha256)
    return {
        sha256: sources
        for sha256, sources in groups.items()
        if not any(listing.renderings or listing.deferred_renderings for listing in sources.listings)
    }


def _drawing(root: Path, params: DrawingsParams) -> Mapping[str, Sources]:
    """Return sha256 -> sources of the adapters that draw, the newest first."""
    drawable = {row.sha256 for row in pool.adapters(root).values() if FULL_RANK not in row.warnings}
    wanted = {
        sha256: sources
        for sha256, sources in _without_renderings(root).items()
        if sha256 in drawable and _may_draw(sources, params) and _is_in_share(sha256, params.share)
    }
    newest = sorted(wanted, key=lambda sha256: (-wanted[sha256].first_seen.toordinal(), sha256))
    return {sha256: wanted[sha256] for sha256 in newest}


def _may_draw(sources: Sources, params: DrawingsParams) -> bool:
    """Return whether an adapter may draw: one that shows a minor never, nsfw and persons if the params say so."""
    return not sources.minor and (params.restricted or not (sources.nsfw or sources.person))


def _is_in_share(sha256: str, share: float) -> bool:
    """Return whether an adapter is in a random share of all, which only its hash decides."""
    digest = hashlib.sha256(f"drawings:{sha256}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _drawings(root: Path, sha256: str, sources: Sources, base: Base, today: date) -> tuple[Drawing, ...]:
    """Return the drawings of an adapter."""
    word = _word(root, sha256, sources, base.bounds)
    return tuple(
        Drawing(
            adapter=sha256,
            recipe=base.recipe,
            number=number,
            prompt=prompt.replace("{word}", word),
            seed=SEED + number,
            width=base.generation.width,
            height=base.generation.height,
            day=today.isoformat(),
        )
        for number, prompt in enumerate(PROMPTS)
    )


def _word(root: Path, sha256: str, sources: Sources, bounds: PoolParams) -> str:
    """Return the first trigger word of an adapter, else the most frequent training tags of its header."""
    for listing in sources.listings:
        if listing.trigger_words:
            return listing.trigger_words[0]
    facts = read_facts(read_header(pool.weights_path(root, sha256).resolve(), bounds).metadata)
    return ", ".join([*(facts.trigger_words[:1] or [*facts.tags][:MAX_TAGS])]) or NOTHING_KNOWN
