"""Captions: every rendering of an accepted adapter, described once a length by the VLM.

A caption is known by its picture, its prompt and its VLM; whatever changes one of them asks again, and
nothing else does. The engine is not part of it: both engines run the same model.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.catalog.store import catalog
from autolora.params import CaptionsParams
from autolora.pool import store as pool
from autolora.records import Caption, Listing
from autolora.storage.files import append_rows, hash_value, write_rows
from autolora.storage.incremental import Pending, pending, write_digest

if TYPE_CHECKING:  # searching needs captions, and no VLM
    from autolora.vlm import Captioner
from autolora.captions.store import captions, captions_path

SCHEMA = 1
Key = tuple[str, str, str]
"""sha256 of the picture, digest of the prompt, digest of the VLM"""

logger = logging.getLogger(__name__)
_appending = threading.Lock()  # one file, several batches at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Pictures that are asked about together."""

    length: str
    instruction: str
    prompt: str
    """digest of the prompt"""
    vlm: str
    """digest of the VLM"""
    images: tuple[str, ...]
    """sha256 each"""


def plan(root: Path, params: CaptionsParams, vlm: str) -> list[Batch]:
    """Return the batches of what is not captioned yet, in the catalog's order, one length after another.

    vlm: digest of the VLM.
    """
    todo = _pending(root, params, vlm).add
    batches: list[Batch] = []
    for length, instruction in asdict(params.instructions).items():
        prompt = prompt_digest(instruction, params.max_tokens)
        images = [image for image, wanted, _ in todo if wanted == prompt]
        for start in range(0, len(images), params.batch):
            part = tuple(images[start : start + params.batch])
            batches.append(Batch(length=length, instruction=instruction, prompt=prompt, vlm=vlm, images=part))
    logger.info("captions: %d wanted in %d batches", len(todo), len(batches))
    return batches


def caption_batch(root: Path, params: CaptionsParams, batch: Batch, engine: "Captioner") -> int:
    """Ask the engine about one batch, append its captions, and return how many there are.

    Raises CaptionError when the engine is down or answers nonsense: what it has answered is kept.
    """
    paths = [pool.rendering_path(root, image) for image in batch.images]
    rows: list[Caption] = []
    try:
        for place, text in engine.describe(paths, batch.instruction, params.max_tokens):
            rows.append(_caption(batch, batch.images[place], text))
    finally:
        _append(root, rows)
    return len(rows)


def finish(root: Path, params: CaptionsParams, vlm: str) -> str:
    """Sort the captions, drop what is no longer wanted, write the stage's digest and return its sha256."""
    gone = set(_pending(root, params, vlm).remove)
    rows = {_key(row): asdict(row) for row in captions(root) if _key(row) not in gone}
    write_rows(captions_path(root), [rows[key] for key in sorted(rows)])
    hashes = {":".join(key): hash_value(row) for key, row in rows.items()}
    return write_digest(root, "captions", hashes, SCHEMA, vlm=vlm)


def prompt_digest(instruction: str, max_tokens: int) -> str:
    """Return what a prompt is known by."""
    return hash_value([instruction, max_tokens])


def wanted_images(root: Path) -> Iterator[str]:
    """Yield the sha256 of each accepted adapter's renderings in the catalog's order; some come twice."""
    adapters, renderings = pool.adapters(root), pool.renderings(root)
    for listing in catalog(root):
        adapter = adapters.get(listing.key)
        if adapter is not None and adapter.accepted:
            yield from (renderings[key].sha256 for key in _rendering_keys(listing) if key in renderings)


def _caption(batch: Batch, image: str, text: str) -> Caption:
    return Caption(image=image, prompt=batch.prompt, vlm=batch.vlm, length=batch.length, text=text)


def _append(root: Path, rows: Sequence[Caption]) -> None:
    if rows:
        with _appending:
            append_rows(captions_path(root), map(asdict, rows))


def _rendering_keys(listing: Listing) -> Iterable[str]:
    return (rendering.key for rendering in listing.renderings)


def _pending(root: Path, params: CaptionsParams, vlm: str) -> Pending[Key]:
    prompts = [prompt_digest(text, params.max_tokens) for text in asdict(params.instructions).values()]
    wanted: list[Key] = [(image, prompt, vlm) for image in wanted_images(root) for prompt in prompts]
    return pending(wanted, [_key(caption) for caption in captions(root)])


def _key(caption: Caption) -> Key:
    return caption.image, caption.prompt, caption.vlm
