"""Stage `captions`: the VLM captions each rendering of an accepted adapter, once per caption length.

A caption is identified by its image, its prompt and the VLM. A caption is written again only if one of the three
changes. The engine is not part of the identity, because both engines run the same model.
"""

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.captions.store import captions_path, read_captions
from autolora.catalog.store import read_active
from autolora.params import CaptionsParams
from autolora.pool import store as pool
from autolora.records import Caption
from autolora.storage.files import append_rows, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import Pending, pending, write_digest

if TYPE_CHECKING:  # the caller passes the engine, so this module loads no VLM library
    from autolora.vlm import Captioner

SCHEMA = 1
CaptionKey = tuple[str, str, str]
"""sha256 of the image, digest of the prompt, digest of the VLM"""

logger = logging.getLogger(__name__)
_append_lock = threading.Lock()  # batches run in threads and append to the same file


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionBatch:
    """Images that are captioned with the same instruction in one task."""

    length: str
    """short, medium or long"""
    instruction: str
    prompt: str
    """digest of the prompt"""
    vlm: str
    """digest of the VLM"""
    images: tuple[str, ...]
    """sha256 of each image"""


def plan(root: Path, params: CaptionsParams, vlm: str) -> list[CaptionBatch]:
    """Return the batches of missing captions: one length after another, images in the catalog's order.

    vlm: digest of the VLM.
    """
    missing = _pending(root, params, vlm).add
    batches: list[CaptionBatch] = []
    for length, instruction in asdict(params.instructions).items():
        prompt = prompt_digest(instruction, params.max_tokens)
        images = [image for image, image_prompt, _ in missing if image_prompt == prompt]
        for start in range(0, len(images), params.batch):
            batch_images = tuple(images[start : start + params.batch])
            batches.append(
                CaptionBatch(
                    length=length, instruction=instruction, prompt=prompt, vlm=vlm, images=batch_images
                )
            )
    logger.info("captions: %d missing, in %d batches", len(missing), len(batches))
    return batches


def caption_batch(root: Path, params: CaptionsParams, batch: CaptionBatch, engine: "Captioner") -> int:
    """Caption one batch, append its captions to the file, and return their number.

    Raises CaptionError if the engine does not answer or an answer is not a text. The captions that the engine
    returned before the error are stored.
    """
    paths = [pool.rendering_path(root, image) for image in batch.images]
    captions: list[Caption] = []
    try:
        for position, text in engine.describe(paths, batch.instruction, params.max_tokens):
            captions.append(
                Caption(
                    image=batch.images[position],
                    prompt=batch.prompt,
                    vlm=batch.vlm,
                    length=batch.length,
                    text=text,
                )
            )
    finally:
        _append(root, captions)
    return len(captions)


def finish(root: Path, params: CaptionsParams, vlm: str) -> str:
    """Sort the captions, remove those of other prompts, VLMs and images, write the digest; return its sha256."""
    obsolete = set(_pending(root, params, vlm).remove)
    rows = {
        _key(caption): asdict(caption) for caption in read_captions(root) if _key(caption) not in obsolete
    }
    write_rows(captions_path(root), [rows[key] for key in sorted(rows)])
    hashes = {":".join(key): hash_value(row) for key, row in rows.items()}
    return write_digest(root, "captions", hashes, SCHEMA, vlm=vlm)


def prompt_digest(instruction: str, max_tokens: int) -> str:
    """Return the digest that identifies a prompt: its instruction and its token limit."""
    return hash_value([instruction, max_tokens])


def accepted_images(root: Path) -> Iterator[str]:
    """Yield the sha256 of each accepted adapter's renderings in the catalog's order, possibly repeated."""
    adapters, renderings = pool.adapters(root), pool.renderings(root)
    for listing in read_active(root):
        adapter = adapters.get(listing.key)
        if adapter is not None and adapter.accepted:
            for rendering in listing.renderings:
                if rendering.key in renderings:
                    yield renderings[rendering.key].sha256


def _append(root: Path, captions: Sequence[Caption]) -> None:
    if captions:
        with _append_lock:
            append_rows(captions_path(root), map(asdict, captions))


def _pending(root: Path, params: CaptionsParams, vlm: str) -> Pending[CaptionKey]:
    prompts = [
        prompt_digest(instruction, params.max_tokens) for instruction in asdict(params.instructions).values()
    ]
    wanted: list[CaptionKey] = [(image, prompt, vlm) for image in accepted_images(root) for prompt in prompts]
    return pending(wanted, [_key(caption) for caption in read_captions(root)])


def _key(caption: Caption) -> CaptionKey:
    return caption.image, caption.prompt, caption.vlm
