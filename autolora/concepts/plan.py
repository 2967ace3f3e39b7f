"""The captioned images that the concepts are made from, and the gradients of theirs that are still missing."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from autolora.concepts.corpus import sample_items
from autolora.concepts.decoded import DecodedImages, Read
from autolora.concepts.denoising import GUIDANCE, NEUTRAL
from autolora.concepts.items import CorpusItem, Skipped
from autolora.concepts.known_images import KnownImages
from autolora.concepts.shards import stored_keys
from autolora.concepts.store import CaptionedImage
from autolora.dataset.store import locked_captions, rows, training_lock
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
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GradientInput:
    """What a gradient is computed from."""

    source: str
    """of its image, as in `CaptionedImage`"""
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
    """what was left out so far"""
    sampled: int
    """number of captioned images of the corpus before any of them was read"""


def make_plan(
    root: Path, params: ConceptsParams, base: ModelsParams, bounds: PoolParams, tokens: int
) -> Plan:
    """Return the captioned images of the corpus and the renderings, each pair of image and caption once.

    Decodes the images of the corpus that no run has decoded before, and writes what that shows.
    bounds: limits on images, and the size of sketches. tokens: number of T5 states per prompt.
    Raises ParamsError if the corpus has no captioned images, MissingArtifact if the dataset is missing.
    """
    recipe = gradient_recipe(params, base, bounds, tokens)
    finder, inputs = _Finder(root, bounds), dict[str, GradientInput]()
    merged: dict[tuple[str, str], CaptionedImage] = {}
    for image, read in finder.find(params):
        prompt = NEUTRAL if params.caption == "neutral" else image.caption
        image = replace(image, gradient=hash_value([recipe, image.sha256, prompt]))
        inputs.setdefault(image.gradient, GradientInput(image.source, image.sha256, prompt, read))
        first = merged.setdefault((image.sha256, image.caption), image)
        families = tuple(sorted({*first.families, *image.families}))
        merged[image.sha256, image.caption] = replace(first, families=families)
    finder.decoded.write()
    images = tuple(merged[key] for key in sorted(merged))
    return Plan(images, pending(inputs, stored_keys(root)), inputs, finder.skipped, finder.sampled)


def gradient_recipe(params: ConceptsParams, base: ModelsParams, bounds: PoolParams, tokens: int) -> str:
    """Return the hash of all that determines a gradient except its image and prompt."""
    pipeline = (base.pipeline, base.pipeline_revision, tokens, GUIDANCE)
    noise = (params.noise_levels, params.draws, params.seed)
    return hash_value([VERSION, pipeline, SketchSpec(bounds.sketch_size).key, params.image_size, noise])


class _Finder:
    """Finds the captioned images of both sources, without keys of gradients, and counts what is left out."""

    def __init__(self, root: Path, bounds: PoolParams) -> None:
        self._root, self._bounds = root, bounds
        self.skipped, self.sampled = Skipped(), 0
        self.decoded = DecodedImages(root, bounds)

    def find(self, params: ConceptsParams) -> Iterator[tuple[CaptionedImage, Read]]:
        """Yield the captioned images, and how their files are read."""
        if not params.renderings and params.corpus is None:
            return
        known = KnownImages(self._root, self.decoded)
        if params.renderings:
            yield from self._find_renderings(known)
        if params.corpus is not None:
            corpus = self._root / params.corpus
            items = sample_items(corpus, params.max_images, params.seed, self.skipped)
            self.sampled = len(items)
            for item in items:
                if image := self._unless_refused(item.source, partial(self._read, item, known)):
                    yield image, partial(_content, item, self._bounds)

    def _find_renderings(self, known: KnownImages) -> Iterator[tuple[CaptionedImage, Read]]:
        """Yield the captioned renderings of the training adapters, as far as dataset and pool still have them."""
        captions = locked_captions(self._root)
        in_dataset = {row["sha256"] for row in rows(self._root, "adapters", ("sha256",))}
        adapters = [row for row in training_lock(self._root).in_split("train") if row.sha256 in in_dataset]
        for sha256 in dict.fromkeys(image for adapter in adapters for image in adapter.renderings):
            families = self._unless_refused(f"rendering {sha256}", partial(known.families, [sha256]))
            if not families or not pool.has_rendering(self._root, sha256):
                continue
            read = partial(Path.read_bytes, pool.rendering_path(self._root, sha256))
            for caption in captions.get(sha256, ()):
                yield _captioned(sha256, caption.text, RENDERINGS, families), read

    def _read(self, item: CorpusItem, known: KnownImages) -> CaptionedImage:
        """Return a captioned image of the corpus. Raises RefusedFile if it cannot be used."""
        content, caption = item.read(self._bounds)
        decoded = self.decoded.find(hashlib.sha256(content).hexdigest(), lambda: content)
        if decoded.code:
            raise RefusedFile(decoded.code, decoded.reason)
        return _captioned(decoded.image, caption, item.source, known.families(known.same_images(decoded)))

    def _unless_refused(self, source: str, find: Callable[[], T]) -> T | None:
        """Return what is found; None if it is refused, which is recorded."""
        try:
            return find()
        except RefusedFile as refused:
            self.skipped.add(refused.code, source, str(refused))
            return None


def _captioned(sha256: str, caption: str, source: str, families: tuple[str, ...]) -> CaptionedImage:
    return CaptionedImage(sha256=sha256, caption=caption, source=source, families=families, gradient="")


def _content(item: CorpusItem, bounds: PoolParams) -> bytes:
    return item.read(bounds)[0]
