"""The images that `bench.image_search` searches by: renderings of other LoRAs, and drawings by two engines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from autolora import models
from autolora.concepts.denoising import NEUTRAL, DenoisingGradients
from autolora.lora.sketch import SketchSpec
from autolora.params import Params
from autolora.storage.arrays import BoolArray, Int64Array
from autolora.storage.hashes import hash_file
from autolora.vlm.captioning import CaptionRequest
from bench.concept_material import cache_folder, describe, draw_corpus
from bench.concept_pools import Member
from playground import corpus, engines, themes

GALLERIES = "galleries of other LoRAs"
SOURCES = {engines.WORLD: "drawings", engines.SECOND: "drawings by the second engine"}
"""engine -> name of its images"""
PER_THEME = 8
"""drawings of each theme by an engine"""
SEED = 20
"""of the drawings: no other corpus of the playground has it"""
BATCH = 16

Prompt = Literal["empty", "model", "given"]
"""what a gradient is taken with: no text, the caption by the VLM, or that of the person who searches"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageQuery:
    """An image, of whose theme adapters are searched."""

    source: str
    path: Path
    sha256: str
    theme: str
    families: frozenset[str]
    """families of the adapters whose rendering it is, which a search by it must not find; empty for a drawing"""
    model: str
    """caption by the VLM"""
    given: str
    """caption by the playground's grammar, which names the theme; that by the VLM if there is none"""

    def prompt(self, kind: Prompt) -> str:
        """Return the text of a kind of prompt."""
        return {"empty": NEUTRAL, "model": self.model, "given": self.given}[kind]


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """Images, and the adapters that they are searched in."""

    queries: Sequence[ImageQuery]
    members: Sequence[Member]
    unseen: BoolArray
    """(N,) whether an adapter is neither in the training split nor in the validation split of the training lock"""

    def of_source(self, source: str) -> Int64Array:
        """Return the numbers of the images of a source."""
        return np.flatnonzero([query.source == source for query in self.queries])

    def right(self) -> BoolArray:
        """Return whether each adapter has the theme of each image (Q, N)."""
        return np.array([[member.theme == query.theme for member in self.members] for query in self.queries])

    def allowed(self) -> BoolArray:
        """Return whether each image may find each adapter (Q, N): not if it is a rendering of the adapter's family."""
        return np.array(
            [[member.family not in query.families for member in self.members] for query in self.queries]
        )

    def references(self) -> BoolArray:
        """Return which images (Q,) are renderings of training and validation adapters only."""
        families = {member.family for member, unseen in zip(self.members, self.unseen, strict=True) if unseen}
        return np.array([bool(query.families) and not query.families & families for query in self.queries])


def read_queries(root: Path, members: Sequence[Member], params: Params) -> list[ImageQuery]:
    """Return the renderings of all LoRAs, each once, and the drawings."""
    drawings = [query for engine in SOURCES for query in draw_queries(root, engine, params)]
    return [*gallery_queries(members, params), *drawings]


def gallery_queries(members: Sequence[Member], params: Params) -> list[ImageQuery]:
    """Return the renderings of LoRAs that the VLM can caption, each once; a theme is that of the first LoRA."""
    families: dict[str, set[str]] = {}
    for member in members:
        for image in member.renderings:
            families.setdefault(image.sha256, set()).add(member.family)
    shown = {
        image.sha256: (image.path, member.theme)
        for member in reversed(members)
        for image in member.renderings
    }
    captions = caption_images([path for path, _ in shown.values()], params)
    return [
        ImageQuery(
            source=GALLERIES,
            path=path,
            sha256=sha256,
            theme=theme,
            families=frozenset(families[sha256]),
            model=captions[path],
            given=captions[path],
        )
        for sha256, (path, theme) in shown.items()
        if path in captions
    ]


def draw_queries(root: Path, engine: str, params: Params) -> list[ImageQuery]:
    """Return drawings of every theme by an engine; they are kept in cache/concepts_bench."""
    names = themes.single_themes()
    drawn = corpus.Corpus(names, engine=engine, images=PER_THEME * len(names), seed=SEED)
    folder = draw_corpus(cache_folder(root), drawn, f"image-queries-{engine}")
    paths = sorted(folder.glob("*.png"))
    captions = caption_images(paths, params)
    return [
        ImageQuery(
            source=SOURCES[engine],
            path=path,
            sha256=hash_file(path),
            theme=names[number % len(names)],
            families=frozenset(),
            model=captions[path],
            given=path.with_suffix(".txt").read_text(encoding="utf-8").strip(),
        )
        for number, path in enumerate(paths)
        if path in captions
    ]


def caption_images(paths: Sequence[Path], params: Params) -> dict[Path, str]:
    """Return the captions of images by the VLM, of medium length, as `autolora search --image` takes them."""
    instruction = asdict(params.captions.instructions)["medium"]
    requests = [CaptionRequest(image=path, instructions=(instruction,)) for path in paths]
    return {paths[answer.position]: answer.text for answer in describe(params, requests)}


def compute_gradients(
    queries: Sequence[ImageQuery], params: Params, kinds: Sequence[Prompt]
) -> Mapping[Prompt, Tensor]:
    """Return kind of prompt -> gradients (Q, S, m, p) of the base model on the images."""
    gradients = DenoisingGradients(
        models.load_pipeline(params.models),
        params.concepts,
        SketchSpec(params.pool.sketch_size),
        params.generation.max_sequence_length,
    )
    images = [Image.open(query.path).convert("RGB") for query in queries]
    computed: dict[Prompt, Tensor] = {}
    for kind in kinds:
        parts = []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            names, prompts = [query.sha256 for query in part], [query.prompt(kind) for query in part]
            parts.append(gradients.compute(images[start : start + BATCH], names, prompts))
        computed[kind] = torch.cat(parts)
    return computed
