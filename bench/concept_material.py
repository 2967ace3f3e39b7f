"""What rows of `bench.concepts` learn from: corpora, and the gradients that the stage `concepts` computes of them.

Everything is kept in cache/concepts_bench, so that a repetition computes only what is new:

corpora/<name>      captioned images as playground.corpus writes them, or with captions by the VLM
stages/<name>       a repository of symbolic links to the data of the playground, in which the stage has run; its lock
                    has the training LoRAs only, because the stage leaves out images of those that are held out
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autolora.concepts import stage
from autolora.concepts.phrases import PhraseLimits, find_phrases
from autolora.concepts.plan import RENDERINGS
from autolora.concepts.shards import folder as concepts_folder
from autolora.concepts.store import (
    CaptionedImage,
    Concepts,
    Phrase,
    images_path,
    load_concepts,
    phrases_path,
    read_images,
    read_phrases,
)
from autolora.dataset.store import TRAINING_LOCK
from autolora.params import ConceptsParams, Params
from autolora.pool import store as pool
from autolora.storage.files import read_rows, write_rows
from autolora.vlm.captioning import Answer, CaptionRequest
from autolora.vlm.in_process import InProcessModel
from playground import corpus

LINKED = ("dataset", "pool", "captions")
"""in data/, read by the stage"""


def cache_folder(root: Path) -> Path:
    """Return the folder of corpora and gradients of a repository; its users hold `exclusive_folder` of it."""
    return root / "cache" / "concepts_bench"


@dataclass(frozen=True, eq=False)
class Material:
    """A repository in which the stage `concepts` has run."""

    root: Path
    corpus: Path | None

    @cached_property
    def images(self) -> list[CaptionedImage]:
        """All captioned images."""
        return read_images(self.root)

    @cached_property
    def concepts(self) -> Concepts:
        """The concepts with their gradients."""
        return load_concepts(self.root)

    @cached_property
    def members(self) -> list[tuple[str, ...]]:
        """The sha256 of each concept's images."""
        return [tuple(self.images[row].sha256 for row in phrase.images) for phrase in read_phrases(self.root)]

    @property
    def paths(self) -> dict[str, Path]:
        """The files of the images, by sha256."""
        return {
            image.sha256: self.corpus / image.source
            if self.corpus and image.source != RENDERINGS
            else pool.rendering_path(self.root, image.sha256)
            for image in self.images
        }


def run_stage(
    root: Path, cache: Path, params: Params, name: str, source: Path | None, renderings: bool = False
) -> Material:
    """Return the material of a corpus, and of the training renderings if asked for.

    root: repository of the playground. params: the section `concepts` except for its sources, and the base.
    """
    home = cache / "stages" / name
    (home / "data").mkdir(parents=True, exist_ok=True)
    for linked in LINKED:
        link = home / "data" / linked
        if not link.is_symlink():
            link.symlink_to((root / "data" / linked).absolute())
    head, *adapters = read_rows(root / TRAINING_LOCK)
    write_rows(home / TRAINING_LOCK, [head, *(row for row in adapters if row["split"] == "train")])
    path = None if source is None else str(source.absolute())
    section = replace(params.concepts, corpus=path, renderings=renderings)
    tokens = params.generation.max_sequence_length
    plan = stage.make_plan(home, section, params.models, params.pool, tokens)
    for _ in stage.compute_gradients(home, plan, section, params.models, params.pool, tokens):
        pass
    stage.finish(home, plan, section)
    return Material(home, source)


def restrict(
    material: Material, name: str, params: ConceptsParams, is_kept: Callable[[CaptionedImage], bool]
) -> Material:
    """Return the material of some of the images, with the phrases of theirs and the gradients of all."""
    home = material.root.with_name(name)
    images = [image for image in material.images if is_kept(image)]
    limits = PhraseLimits(
        min_images=params.min_images, max_share=params.max_share, max_overlap=params.max_overlap
    )
    phrases = find_phrases([(image.sha256, image.caption) for image in images], limits)
    shutil.rmtree(home, ignore_errors=True)
    concepts_folder(home).mkdir(parents=True)
    (concepts_folder(home) / "gradients").symlink_to(
        (concepts_folder(material.root) / "gradients").absolute()
    )
    (home / "data" / "pool").symlink_to((material.root / "data" / "pool").absolute())
    write_rows(images_path(home), map(asdict, images))
    rows = [Phrase(phrase=phrase, images=numbers) for phrase, numbers in phrases.items()]
    write_rows(phrases_path(home), map(asdict, rows))
    return Material(home, material.corpus)


def draw_corpus(cache: Path, drawn: corpus.Corpus, name: str) -> Path:
    """Return the folder of a corpus of the playground; it is drawn if it is missing."""
    home = cache / "corpora" / name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        corpus.write(drawn, home)
    return home


def caption_corpus(source: Path, name: str, params: Params, seed: int) -> Path:
    """Return the folder of a corpus with captions by the VLM, each of a random length; they are made if missing."""
    home = source.with_name(name)
    if home.exists():
        return home
    paths = sorted(source.glob("*.png"))
    instructions = list(asdict(params.captions.instructions).values())
    chosen = np.random.default_rng(seed).integers(len(instructions), size=len(paths))
    requests = [
        CaptionRequest(image=path, instructions=(instructions[row],))
        for path, row in zip(paths, chosen, strict=True)
    ]
    named = [(paths[answer.position], answer.text) for answer in describe(params, requests)]
    write_corpus(home, {path.name: (path, text) for path, text in named})
    return home


def describe(params: Params, requests: Sequence[CaptionRequest]) -> list[Answer]:
    """Return the captions by the VLM; an image that it cannot caption has none."""
    captioner = InProcessModel(params.models, params.captions.batch)
    answers = captioner.describe(requests, params.captions.max_tokens, params.captions.max_image_side)
    return [answer for answer in answers if isinstance(answer, Answer)]


def write_corpus(home: Path, captioned: Mapping[str, tuple[Path, str]]) -> None:
    """Write a folder of links to images with captions, by their names there; it appears when it is complete."""
    partial = home.with_name(home.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, (path, text) in captioned.items():
        (partial / name).symlink_to(path.resolve())
        (partial / name).with_suffix(".txt").write_text(f"{text}\n", encoding="utf-8")
    partial.rename(home)
