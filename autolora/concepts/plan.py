"""The captioned images that the concepts are made from, and the gradients of theirs that are still missing."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from autolora.concepts.corpus import sample_items
from autolora.concepts.denoising import GUIDANCE, NEUTRAL
from autolora.concepts.items import CorpusItem, Skipped
from autolora.concepts.shards import stored_keys
from autolora.concepts.store import CaptionedImage
from autolora.dataset.store import captions_by_image, rows, training_lock
from autolora.errors import RefusedFile
from autolora.lora.sketch import SketchSpec
from autolora.params import ConceptsParams, ModelsParams, PoolParams
from autolora.pool import store as pool
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import Pending, pending

RENDERINGS = "renderings"
"""source of the images that are renderings of training adapters"""
VERSION = 1
"""of the computation of gradients"""

Read = Callable[[], bytes]
"""returns the content of an image file; raises RefusedFile"""


@dataclass(frozen=True, slots=True)
class GradientInput:
    """What a gradient is computed from."""

    sha256: str
    prompt: str
    read: Read


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one run."""

    images: tuple[CaptionedImage, ...]
    """all captioned images, sorted by image and caption"""
    gradients: Pending[str]
    """keys of missing gradients, in the order in which a corpus is read quickly, and of unwanted ones"""
    inputs: Mapping[str, GradientInput]
    """by key of the gradient"""
    skipped: Skipped
    """items that were left out so far, by reason"""


def make_plan(
    root: Path, params: ConceptsParams, base: ModelsParams, bounds: PoolParams, tokens: int
) -> Plan:
    """Return the captioned images of the corpus and the renderings, each pair of image and caption once.

    bounds: limits on images, and the size of sketches. tokens: number of T5 states per prompt.
    Raises ParamsError if the corpus has no captioned images, MissingArtifact if the dataset is missing.
    """
    recipe = gradient_recipe(params, base, bounds, tokens)
    skipped, inputs = Skipped(), dict[str, GradientInput]()
    merged: dict[tuple[str, str], CaptionedImage] = {}
    for image, read in _find_images(root, params, bounds, skipped):
        prompt = NEUTRAL if params.caption == "neutral" else image.caption
        image = replace(image, gradient=hash_value([recipe, image.sha256, prompt]))
        inputs.setdefault(image.gradient, GradientInput(image.sha256, prompt, read))
        first = merged.setdefault((image.sha256, image.caption), image)
        families = tuple(sorted({*first.families, *image.families}))
        merged[image.sha256, image.caption] = replace(first, families=families)
    images = tuple(merged[key] for key in sorted(merged))
    return Plan(images, pending(inputs, stored_keys(root)), inputs, skipped)


def gradient_recipe(params: ConceptsParams, base: ModelsParams, bounds: PoolParams, tokens: int) -> str:
    """Return the hash of all that determines a gradient except its image and prompt."""
    pipeline = (base.pipeline, base.pipeline_revision, tokens, GUIDANCE)
    noise = (params.noise_levels, params.draws, params.seed)
    return hash_value([VERSION, pipeline, SketchSpec(bounds.sketch_size).key, params.image_size, noise])


def _find_images(
    root: Path, params: ConceptsParams, bounds: PoolParams, skipped: Skipped
) -> Iterator[tuple[CaptionedImage, Read]]:
    """Yield the captioned images of both sources, without keys of gradients, and how their files are read."""
    if params.renderings:
        yield from _find_renderings(root)
    if params.corpus is None:
        return
    families = _families_of_images(root)
    for item in sample_items(root / params.corpus, params.max_images, params.seed, skipped):
        try:
            content, caption = item.read(bounds)
        except RefusedFile as refused:
            skipped[refused.code] += 1
            continue
        sha256 = hashlib.sha256(content).hexdigest()
        own = families.get(sha256, ())
        image = CaptionedImage(sha256=sha256, caption=caption, source=item.source, families=own, gradient="")
        yield image, partial(_content, item, bounds)


def _families_of_images(root: Path) -> dict[str, tuple[str, ...]]:
    """Return image -> the families of the training adapters whose rendering it is, as a corpus may contain it too."""
    families: defaultdict[str, set[str]] = defaultdict(set)
    for adapter in training_lock(root).in_split("train"):
        for image in adapter.renderings:
            families[image].add(adapter.family)
    return {image: tuple(sorted(own)) for image, own in families.items()}


def _content(item: CorpusItem, bounds: PoolParams) -> bytes:
    return item.read(bounds)[0]


def _find_renderings(root: Path) -> Iterator[tuple[CaptionedImage, Read]]:
    """Yield the captioned renderings of the training adapters, as far as dataset and pool still have them."""
    captions = captions_by_image(root)
    in_dataset = {row["sha256"] for row in rows(root, "adapters", ("sha256",))}
    adapters = [row for row in training_lock(root).in_split("train") if row.sha256 in in_dataset]
    for sha256, family in ((image, adapter.family) for adapter in adapters for image in adapter.renderings):
        if not pool.has_rendering(root, sha256):
            continue
        read = partial(Path.read_bytes, pool.rendering_path(root, sha256))
        for caption in captions.get(sha256, ()):
            image = CaptionedImage(
                sha256=sha256, caption=caption.text, source=RENDERINGS, families=(family,), gradient=""
            )
            yield image, read
