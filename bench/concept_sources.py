"""Where the rows of `bench.concepts` take captioned images from, and the base whose gradients they use."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from autolora.concepts.store import CaptionedImage
from autolora.metrics.numbers import to_json
from autolora.params import Params
from autolora.storage.files import read_json, write_atomic
from autolora.storage.hashes import hash_file
from autolora.vlm.captioning import CaptionRequest
from bench.concept_material import (
    Material,
    caption_corpus,
    describe,
    draw_corpus,
    restrict,
    run_stage,
    write_corpus,
)
from bench.concept_pools import Rendering, RetrievalTask
from playground import bases, corpus, engines, themes

MAIN = "main"
"""name of the committed base"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The captioned images of a row, and how their gradients are taken."""

    engine: str = engines.WORLD
    captions: Literal["grammar", "vlm", "other images"] = "grammar"
    """by the world's grammar, by the VLM, or those of the image that follows, which shows another theme"""
    prompt: Literal["named", "neutral"] = "named"
    """of the gradients: the caption, or none"""
    base: str = MAIN
    """MAIN, or a name of playground.bases.FURTHER"""
    images: int = corpus.Corpus.images

    def name(self, seed: int) -> str:
        """Return the name of its corpus."""
        count = "" if self.images == corpus.Corpus.images else f"-{self.images}"
        return f"{self.engine}-{self.captions}-{seed}{count}".replace(" ", "-")


def make_material(root: Path, cache: Path, params: Params, source: Source, seed: int) -> Material:
    """Return the material of a source; the seed draws corpus and noise."""
    drawn = corpus.Corpus(themes.single_themes(), engine=source.engine, images=source.images, seed=seed)
    folder = draw_corpus(cache, drawn, replace(source, captions="grammar").name(seed))
    if source.captions == "vlm":
        folder = caption_corpus(folder, source.name(seed), params, seed)
    elif source.captions == "other images":
        folder = exchange_captions(folder, source.name(seed))
    name = f"{source.base}-{source.name(seed)}-{source.prompt}"
    return run_stage(root, cache, for_source(params, source, seed), name, folder)


def for_source(params: Params, source: Source, seed: int) -> Params:
    """Return the params with the source's base, prompt and seed."""
    models = params.models
    if source.base != MAIN:
        models = replace(models, pipeline=str(bases.FURTHER[source.base].home))
    section = replace(params.concepts, caption=source.prompt, seed=seed)
    return replace(params, models=models, concepts=section)


def exchange_captions(folder: Path, name: str) -> Path:
    """Return the folder of a corpus in which each image has the caption of the next one; it is made if missing."""
    home = folder.with_name(name)
    if not home.exists():
        paths = sorted(folder.glob("*.png"))
        texts = [path.with_suffix(".txt").read_text(encoding="utf-8").strip() for path in paths]
        captions = zip(paths, [*texts[1:], texts[0]], strict=True)
        write_corpus(home, {path.name: (path, text) for path, text in captions})
    return home


def theme_of(image: CaptionedImage) -> str:
    """Return the theme of an image of the playground's corpora, in which the themes take turns."""
    names = themes.single_themes()
    return names[int(Path(image.source).stem) % len(names)]


def without_themes(material: Material, name: str, params: Params, left_out: Iterable[str]) -> Material:
    """Return the material of the images that show none of these themes."""
    banned = frozenset(left_out)
    return restrict(material, name, params.concepts, lambda image: theme_of(image) not in banned)


def absent_themes(task: RetrievalTask) -> set[str]:
    """Return the themes of a task's pool that no training LoRA has."""
    trained = {member.theme for member in task.members if member.sha256 in task.training}
    return {member.theme for member in task.members} - trained


def galleries_material(root: Path, cache: Path, params: Params, task: RetrievalTask, seed: int) -> Material:
    """Return the material of all renderings of a pool: those of training LoRAs, and as a corpus those of the others."""
    home = cache / "corpora" / "galleries"
    others = [member for member in task.members if member.sha256 not in task.training]
    if not home.exists():
        write_gallery(home, [image for member in others for image in member.renderings])
    section = replace(params.concepts, caption="named", seed=seed)
    return run_stage(
        root, cache, replace(params, concepts=section), f"galleries-{seed}", home, renderings=True
    )


def write_gallery(home: Path, images: Sequence[Rendering]) -> None:
    """Write a corpus of renderings, each once per caption."""
    captions = {
        f"{image.sha256}-{number}.png": (image.path, text)
        for image in images
        for number, text in enumerate(image.captions)
    }
    write_corpus(home, captions)


def own_left_out(material: Material, name: str, params: Params, task: RetrievalTask) -> Material:
    """Return the material without the images of the queried LoRAs.

    Images are compared by their files: the sha256 of a rendering is that of its download, which the pool converts.
    """
    own = {hash_file(image.path) for sha256 in task.queried for image in task.by_sha256[sha256].renderings}
    kept = {sha256 for sha256, path in material.paths.items() if hash_file(path) not in own}
    return restrict(material, name, params.concepts, lambda image: image.sha256 in kept)


def describe_cached(params: Params, path: Path, images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Return the captions of images by the VLM, with all instructions; those in the file `path` are not made again."""
    stored = read_json(path) or {}
    names = {image: hash_file(image) for image in images}
    missing = [image for image, name in names.items() if name not in stored]
    if missing:
        instructions = tuple(asdict(params.captions.instructions).values())
        requests = [CaptionRequest(image=image, instructions=instructions) for image in missing]
        for answer in describe(params, requests):
            stored.setdefault(names[missing[answer.position]], {})[answer.instruction] = answer.text
        write_atomic(path, to_json(stored))
    return {image: tuple(stored.get(name, {}).values()) for image, name in names.items()}
