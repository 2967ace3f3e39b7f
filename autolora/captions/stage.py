"""Stage `captions`: the VLM captions each rendering and drawing of an accepted adapter, once per caption length.

A caption is identified by its image, its prompt and the VLM. A caption is written again only if one of the three
changes. The engine is not part of the identity, because both engines run the same model. The limit on the size of an
image is part of the prompt only if the image exceeds it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from autolora.captions.store import CaptionRecipe, captions_path, prompt_digest, read_captions
from autolora.catalog import failed_items
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.sources import ImageSource, image_sources
from autolora.catalog.store import read_active
from autolora.errors import CaptionError
from autolora.params import CaptionsParams
from autolora.pool import evicted
from autolora.pool import store as pool
from autolora.pool.drawings import read_drawings
from autolora.records import Caption, PooledRendering
from autolora.storage.files import Row, append_rows, write_rows
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import Pending, pending, write_digest
from autolora.vlm.captioning import LONGER, CaptionRequest, FailedImage

if TYPE_CHECKING:  # the caller passes the engine, so this module loads no VLM library
    from autolora.vlm import Captioner

SCHEMA = 1
MAX_NAMES_IN_ERRORS = 10
MIN_COMPARED = 8
"""Number of captions from which equal ones are noticed."""
CaptionKey = tuple[str, str, str]
"""sha256 of the image, digest of the prompt, digest of the VLM"""

logger = logging.getLogger(__name__)
_append_lock = threading.Lock()  # batches run in threads and append to the same file


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One instruction as it is sent with an image."""

    length: str
    """short, medium or long"""
    instruction: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionBatch:
    """Images that are captioned in one task."""

    vlm: str
    """digest of the VLM"""
    images: Mapping[str, tuple[Prompt, ...]]
    """sha256 of the image -> prompts of its missing captions"""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What became of one batch."""

    captions: int
    """number of captions"""
    failures: Mapping[str, str]
    """sha256 of each image that the VLM could not caption -> reason"""


def plan(root: Path, params: CaptionsParams, vlm: str) -> list[CaptionBatch]:
    """Return the batches of missing captions: all lengths of an image together, images in the catalog's order.

    vlm: digest of the VLM.
    """
    prompts = _prompts(_accepted_renderings(root).values(), params)
    missing: dict[str, tuple[Prompt, ...]] = {}
    for image, prompt, _ in _pending(root, prompts, vlm).add:
        missing[image] = (*missing.get(image, ()), prompts[image][prompt])
    images = list(missing)
    groups = [images[start : start + params.batch] for start in range(0, len(images), params.batch)]
    logger.info("captions of %d images missing, in %d batches", len(images), len(groups))
    return [CaptionBatch(vlm=vlm, images={image: missing[image] for image in group}) for group in groups]


def caption_batch(
    root: Path, params: CaptionsParams, batch: CaptionBatch, engine: "Captioner"
) -> BatchResult:
    """Caption one batch and store its captions. Raises as `caption`; the captions before the error are stored."""
    return store(root, caption(root, params, batch, engine))


def caption(root: Path, params: CaptionsParams, batch: CaptionBatch, engine: "Captioner") -> Iterator[Row]:
    """Yield the captions of one batch, and the `image` and the `reason` of each image that failed.

    Raises CaptionError if the engine itself fails, after the captions that it returned before the error.
    """
    images = list(batch.images)
    evicted.fetch(root, "renderings", images)
    requests = [
        CaptionRequest(
            image=pool.rendering_path(root, image),
            instructions=tuple(prompt.instruction for prompt in batch.images[image]),
        )
        for image in images
    ]
    for result in engine.describe(requests, params.max_tokens, params.max_image_side):
        image = images[result.position]
        if isinstance(result, FailedImage):
            yield {"image": image, "reason": result.reason}
            continue
        prompt = next(item for item in batch.images[image] if item.instruction == result.instruction)
        yield asdict(
            Caption(
                image=image,
                prompt=prompt.digest,
                vlm=batch.vlm,
                length=prompt.length,
                text=result.text,
                cut=result.cut,
            )
        )


def store(root: Path, rows: Iterable[Row]) -> BatchResult:
    """Append the captions among the rows of `caption` to the file; return their number and the images that failed."""
    captions: list[Caption] = []
    failures: dict[str, str] = {}
    try:
        for row in rows:
            if reason := row.pop("reason", None):
                failures[row["image"]] = reason
            else:
                captions.append(Caption(**row))
    finally:
        _append(root, captions)
    return BatchResult(captions=len(captions), failures=failures)


def store_leftovers(root: Path, batches: Iterable[Iterable[Row]]) -> int:
    """Store the rows of batches of a killed run, which may have stored some already; return the number of captions."""
    stored: set[CaptionKey] | None = None
    count = 0
    for rows in batches:
        if stored is None:
            stored = {_key(caption) for caption in read_captions(root)}
        new = (row for row in rows if (row["image"], row.get("prompt"), row.get("vlm")) not in stored)
        count += store(root, new).captions
    return count


def finish(
    root: Path,
    params: CaptionsParams,
    vlm: str,
    dtype: str,
    today: date,
    failures: Mapping[str, str] | None = None,
) -> str:
    """Sort the captions, remove those of other prompts, VLMs and images, write the digest; return its sha256.

    dtype: of the base model, which the recipe records for the training lock.
    failures: sha256 of each image that the VLM could not caption -> reason. If there are any, they are recorded as
    failed items, CaptionError names them, and nothing is removed. If too many of all images failed, they are not
    recorded.
    """
    renderings = _accepted_renderings(root)
    _check_complete(root, renderings, failures or {}, today)
    obsolete = set(_pending(root, _prompts(renderings.values(), params), vlm).remove)
    rows = {
        _key(caption): caption.to_row() for caption in read_captions(root) if _key(caption) not in obsolete
    }
    _warn_of_equal([row["text"] for row in rows.values()])
    _warn_of_cut(sum("cut" in row for row in rows.values()), params)
    write_rows(captions_path(root), [rows[key] for key in sorted(rows)])
    hashes = {":".join(key): hash_value(row) for key, row in rows.items()}
    return write_digest(root, "captions", hashes, SCHEMA, recipe=_recipe(params, vlm, dtype).to_row())


def _recipe(params: CaptionsParams, vlm: str, dtype: str) -> CaptionRecipe:
    return CaptionRecipe(
        instructions=asdict(params.instructions),
        max_tokens=params.max_tokens,
        max_image_side=params.max_image_side,
        vlm=vlm,
        dtype=dtype,
    )


def _warn_of_equal(texts: Sequence[str]) -> None:
    """Log that most captions are the same text, if they are: such say nothing of what an image shows."""
    [(text, number)] = Counter(texts).most_common(1) or [("", 0)]
    if len(texts) >= MIN_COMPARED and number > len(texts) / 2:
        logger.warning(
            f"{number} of {len(texts)} captions are '{text}', so they find nothing: models.vlm does not follow "
            "captions.instructions, or the images look alike, as drawings do if generation.width, height or steps do "
            "not suit the base model"
        )


def _warn_of_cut(captions: int, params: CaptionsParams) -> None:
    """Log the number of cut captions, if there are some."""
    if captions:
        logger.warning(
            f"{captions} captions are cut after their last whole sentence or word, since the answers are longer than "
            f"{LONGER} times captions.max_tokens ({params.max_tokens}): `autolora show ADAPTER --captions` marks them. "
            "For whole captions, ask for shorter ones (captions.instructions) or raise captions.max_tokens; images are "
            "then captioned again"
        )


def _accepted_renderings(root: Path) -> dict[str, PooledRendering]:
    """Return the renderings of accepted adapters by ListedRendering.key, as the catalog orders them, and drawings."""
    renderings = pool.renderings(root)
    listed = {key: renderings[key] for key in _accepted_sources(root) if key in renderings}
    return listed | {
        drawing.image: drawing.pooled for rows in read_drawings(root).values() for drawing in rows
    }


def _accepted_sources(root: Path) -> dict[str, ImageSource]:
    """Return the listed images of accepted adapters by ListedRendering.key, in the catalog's order."""
    adapters = pool.adapters(root)
    return image_sources(
        row for row in read_active(root) if row.key in adapters and adapters[row.key].accepted
    )


def _check_complete(
    root: Path, renderings: Mapping[str, PooledRendering], failures: Mapping[str, str], today: date
) -> None:
    """Record the images that failed as failed items, and raise CaptionError if there are any."""
    images = {key: rendering.sha256 for key, rendering in renderings.items()}
    num_images = len(set(images.values()))
    if failed_items.are_too_many(len(failures), num_images):
        reasons = " | ".join([*dict.fromkeys(failures.values())][:MAX_NAMES_IN_ERRORS])
        raise CaptionError(
            f"{len(failures)} of {num_images} images have no caption ({reasons}). These are too many to defer them: "
            "check models.vlm, captions and the vLLM server's --max-model-len, then run `dvc repro` again"
        )
    sources = _accepted_sources(root) if failures else {}
    failed = [
        _failed_item(sources[key], failures[image], today)
        for key, image in images.items()
        if image in failures and key in sources
    ]
    if len(failures) > len(failed):
        logger.warning("%d drawings have no caption: the next run asks again", len(failures) - len(failed))
    failed_items.record(root, "captions", failed, images.keys(), today)
    if failed:
        raise _missing_error(failed)


def _failed_item(source: ImageSource, reason: str, today: date) -> FailedItem:
    listing, rendering = source.primary
    return FailedItem(
        stage="captions",
        key=rendering.key,
        hub=listing.hub,
        id=listing.id,
        name=rendering.url,
        reason=reason,
        last_attempt=today,
    )


def _missing_error(failed: Sequence[FailedItem]) -> CaptionError:
    """Return the error that names images without captions, with the reasons."""
    shown = "; ".join(f"{item.name} ({item.reason})" for item in failed[:MAX_NAMES_IN_ERRORS])
    more = f" and {len(failed) - MAX_NAMES_IN_ERRORS} more" if len(failed) > MAX_NAMES_IN_ERRORS else ""
    return CaptionError(
        f"{len(failed)} images have no caption: {shown}{more}. All other captions are kept. Crawl again "
        "(`dvc repro --force --single-item crawl`, as a refresh does), which defers these images, then run `dvc repro`"
    )


def _append(root: Path, captions: Sequence[Caption]) -> None:
    if captions:
        with _append_lock:
            append_rows(captions_path(root), (caption.to_row() for caption in captions))


def _prompts(renderings: Iterable[PooledRendering], params: CaptionsParams) -> dict[str, dict[str, Prompt]]:
    """Return sha256 of the image -> digest of the prompt -> prompt, in the order of the lengths."""
    unchanged, downsized = _prompts_of(params, None), _prompts_of(params, params.max_image_side)
    return {
        rendering.sha256: downsized
        if max(rendering.width, rendering.height) > params.max_image_side
        else unchanged
        for rendering in renderings
    }


def _prompts_of(params: CaptionsParams, downsized_to: int | None) -> dict[str, Prompt]:
    """Return the prompts of an image by digest."""
    prompts = [
        Prompt(
            length=length,
            instruction=instruction,
            digest=prompt_digest(instruction, params.max_tokens, downsized_to),
        )
        for length, instruction in asdict(params.instructions).items()
    ]
    return {prompt.digest: prompt for prompt in prompts}


def _pending(root: Path, prompts: Mapping[str, Mapping[str, Prompt]], vlm: str) -> Pending[CaptionKey]:
    """Return the missing and the obsolete captions. prompts: sha256 of the image -> digests."""
    wanted = [(image, prompt, vlm) for image, by_digest in prompts.items() for prompt in by_digest]
    return pending(wanted, [_key(caption) for caption in read_captions(root)])


def _key(caption: Caption) -> CaptionKey:
    return caption.image, caption.prompt, caption.vlm
