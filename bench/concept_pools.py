"""Pools of LoRAs in memory for `bench.concepts`, and the benchmarks of encoders that are trained on a part of one."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from autolora.dataset import store as dataset
from autolora.encoder.examples import TrainExample
from autolora.encoder.inputs import AdapterBatch, batch_of_sketch
from autolora.encoder.model import Encoder, TextEncoder, embed_texts
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import Sketch, SketchSpec
from autolora.lora.slots import Slot
from autolora.metrics.benchmark import Anchors, Benchmark, EmbeddedCaption, Query, sum_captions
from autolora.metrics.judgments import read_judgments
from autolora.params import Params
from autolora.pool import store as pool
from autolora.storage.arrays import Float64Array
from autolora.storage.hashes import hash_file
from bench.encoders import embed

Describe = Callable[[Sequence[Path]], Mapping[Path, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Rendering:
    """An image of a LoRA's gallery with its captions."""

    sha256: str
    path: Path
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A LoRA of a pool."""

    sha256: str
    family: str
    theme: str
    sketch: Sketch
    renderings: tuple[Rendering, ...]


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """A pool, the part of it that encoders are trained on, and the LoRAs that queries ask for."""

    members: tuple[Member, ...]
    training: frozenset[str]
    """sha256 of LoRAs"""
    queried: frozenset[str]
    """sha256 of LoRAs; a caption of an image that a training LoRA shows too is no query"""

    @cached_property
    def by_sha256(self) -> dict[str, Member]:
        """sha256 -> LoRA."""
        return {member.sha256: member for member in self.members}

    @property
    def train_examples(self) -> list[TrainExample]:
        """The training LoRAs that have captions."""
        rows = [
            TrainExample(
                member.sha256,
                member.family,
                tuple(image.captions for image in member.renderings if image.captions),
            )
            for member in self.members
            if member.sha256 in self.training
        ]
        return [row for row in rows if row.renderings]

    def read(self, sha256: str) -> AdapterBatch:
        """Return the sketch of a LoRA as a batch of one, in the canonical view."""
        return batch_of_sketch(self.by_sha256[sha256].sketch, None)

    @cached_property
    def queries(self) -> tuple[Query, ...]:
        """The captions of the queried LoRAs' renderings, in the order of the members; an image's captions once."""
        owners: dict[str, list[str]] = {}
        for member in self.members:
            for image in member.renderings:
                owners.setdefault(image.sha256, []).append(member.sha256)
        images = {
            image.sha256: image
            for member in self.members
            if member.sha256 in self.queried
            for image in member.renderings
            if self.training.isdisjoint(owners[image.sha256])
        }
        return tuple(
            Query(text, sha256, tuple(owners[sha256]))
            for sha256, image in images.items()
            for text in image.captions
        )


def read_pool(root: Path, themes: Path) -> tuple[Member, ...]:
    """Return the LoRAs of a repository's dataset, sorted by hash. themes: file of judgments."""
    captions, judgments = dataset.captions_by_image(root), read_judgments(themes)
    rows = dataset.rows(root, "adapters", ("sha256", "family", "renderings"))
    return tuple(
        Member(
            row["sha256"],
            row["family"],
            judgments[row["sha256"]].theme,
            pool.load_sketch(root, row["sha256"]),
            tuple(
                Rendering(
                    image,
                    pool.rendering_path(root, image),
                    tuple(caption.text for caption in captions.get(image, ())),
                )
                for image in row["renderings"]
            ),
        )
        for row in sorted(rows, key=lambda row: row["sha256"])
        if row["sha256"] in judgments
    )


def locked_task(root: Path, members: tuple[Member, ...]) -> RetrievalTask:
    """Return the task of the training lock: its training split, and the queries of the test split."""
    training = frozenset(row.sha256 for row in dataset.training_lock(root).in_split("train"))
    tested = frozenset(prompt.adapter for prompt in dataset.prompts(root) if prompt.split == "test")
    return RetrievalTask(members, training, tested)


def theme_folds(members: tuple[Member, ...], folds: int, seed: int = 0) -> list[RetrievalTask]:
    """Return tasks that together ask once for every LoRA, each without a training LoRA of the themes it asks for."""
    themes = sorted({member.theme for member in members})
    order = np.random.default_rng(seed).permutation(len(themes))
    parts = [{themes[row] for row in order[number::folds]} for number in range(folds)]
    tasks = []
    for part in parts:
        queried = frozenset(member.sha256 for member in members if member.theme in part)
        tasks.append(
            RetrievalTask(members, frozenset(member.sha256 for member in members) - queried, queried)
        )
    return tasks


def make_benchmark(task: RetrievalTask, encoder: Encoder, text_encoder: TextEncoder) -> Benchmark:
    """Return the benchmark of the task's pool by an encoder; without the words and components of its LoRAs."""
    vectors = np.stack([embed(encoder, task.read(member.sha256)) for member in task.members])
    texts = [
        (row, image.sha256, text)
        for row, member in enumerate(task.members)
        for image in member.renderings
        for text in image.captions
    ]
    mapped = embed_texts(encoder, text_encoder, [text for _, _, text in texts])
    captions = [
        EmbeddedCaption(row, image, vector) for (row, image, _), vector in zip(texts, mapped, strict=True)
    ]
    described = {query.image for query in task.queries}
    nothing = np.zeros((len(vectors), 0))
    return Benchmark(
        adapters=tuple(task.by_sha256),
        adapter_vectors=vectors,
        captions=sum_captions(captions, (len(vectors), encoder.config.width), described),
        words={},
        components=nothing,
        anchors=Anchors((), nothing[:0], nothing[:0]),
        queries=task.queries,
        query_vectors=embed_texts(encoder, text_encoder, [query.text for query in task.queries]),
        themes={member.sha256: member.theme for member in task.members},
        training=task.training,
        rule=None,
    )


def with_image_vectors(
    benchmark: Benchmark, task: RetrievalTask, vectors: Mapping[str, Float64Array]
) -> Benchmark:
    """Return the benchmark with the vectors (d,) of renderings, by their sha256, in place of their captions'."""
    embedded = [
        EmbeddedCaption(row, image.sha256, vectors[image.sha256])
        for row, member in enumerate(task.members)
        for image in member.renderings
    ]
    described: Collection[str] = {query.image for query in task.queries}
    return replace(benchmark, captions=sum_captions(embedded, benchmark.captions.by_adapter.shape, described))


def read_condition(
    home: Path, params: Params, known: Sequence[Slot], describe: Describe
) -> tuple[Member, ...]:
    """Return the LoRAs that playground.conditions has trained, sorted by hash; each is a family of its own.

    home: its folder. known: slots of the base. describe: from the paths of images to the captions of each.
    """
    judgments, spec = read_judgments(home / "themes.json"), SketchSpec(params.pool.sketch_size)
    files = {hash_file(path): path for path in sorted((home / "pool").glob("*/*/*.safetensors"))}
    images = {sha256: sorted((path.parent / "images").glob("*.png")) for sha256, path in files.items()}
    captions = describe([path for paths in images.values() for path in paths])
    return tuple(
        Member(
            sha256,
            sha256,
            judgments[sha256].theme,
            read_and_sketch(files[sha256], known, params.pool, spec)[1],
            tuple(Rendering(hash_file(path), path, captions[path]) for path in images[sha256]),
        )
        for sha256 in sorted(files)
        if sha256 in judgments
    )


def condition_tasks(members: tuple[Member, ...], reference: tuple[Member, ...]) -> list[RetrievalTask]:
    """Return tasks that together ask once for each LoRA of a condition, one task per theme.

    reference: LoRAs of the same base. Those of the other themes are trained on, and are in the index; those of the
    theme are not.
    """
    tasks = []
    for theme in sorted({member.theme for member in members}):
        training = {member.sha256: member for member in reference if member.theme != theme}
        pool = training | {member.sha256: member for member in members}
        queried = frozenset(member.sha256 for member in members if member.theme == theme)
        tasks.append(RetrievalTask(tuple(pool.values()), frozenset(training), queried))
    return tasks


def without_own_galleries(task: RetrievalTask) -> list[RetrievalTask]:
    """Return tasks that together ask for the same LoRAs, each for at most one of a theme, so that the galleries of a
    task's LoRAs can be left out without those of other LoRAs of their themes."""
    parts: list[set[str]] = []
    themes: dict[str, int] = {}
    for sha256 in sorted(task.queried):
        theme = task.by_sha256[sha256].theme
        number = themes[theme] = themes.get(theme, -1) + 1
        if number == len(parts):
            parts.append(set())
        parts[number].add(sha256)
    return [replace(task, queried=frozenset(part)) for part in parts]
