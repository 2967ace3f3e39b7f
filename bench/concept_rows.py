"""The rows of `bench.concepts`: encoders that learn from different images, measured on the same queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from autolora import models
from autolora.encoder import training
from autolora.encoder.model import Encoder, TextEncoder
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.clip import Clip, load_clip
from autolora.metrics.methods import caption_centroid_scores, encoder_scores
from autolora.params import EncoderParams, Params
from autolora.storage.arrays import Float32Array
from bench.concept_baselines import Features, clip_features, predict_images, square_colors
from bench.concept_material import Material
from bench.concept_pools import RetrievalTask, make_benchmark, with_image_vectors
from bench.concept_tables import Outcome, estimate_rows, join, measure, measure_chance

RIDGE = "ridge + whitening"
"""the row without gradients, to which the others are compared"""
COLORS, JUDGE = "colors of squares", "judge CLIP"
Choose = Callable[[RetrievalTask, int], Material | None]
"""from a task and a seed to what its encoder learns from"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row: what its encoder learns from, and on which tasks."""

    choose: Choose
    tasks: Sequence[RetrievalTask]
    seeds: Sequence[int]
    has_baselines: bool = False
    """whether the regressions on features of images are rows too"""


class Rows:
    """Measures rows with the encoder of the preset `best`."""

    def __init__(self, root: Path, params: Params, section: EncoderParams, text_encoder: TextEncoder) -> None:
        """section: of the encoder."""
        self.root, self.params, self.section, self.text_encoder = root, params, section, text_encoder
        self.transformer = models.transformer_config(params.models)
        self.known: dict[str, dict[str, Float32Array]] = {COLORS: {}, JUDGE: {}}

    @cached_property
    def clip(self) -> Clip:
        """The judge CLIP."""
        judges = self.params.judges
        return load_clip(models.resolve(judges.clip, judges.clip_revision), self.params.models.device)

    def tables(self, rows: Mapping[str, Row]) -> dict[str, Any]:
        """Return the estimates of all rows, one of which is RIDGE, and of their baselines."""
        outcomes: dict[str, list[Outcome]] = {}
        for name, row in rows.items():
            for seed in row.seeds:
                for method, outcome in self.measure(name, row, seed).items():
                    outcomes.setdefault(method, []).append(outcome)
        return estimate_rows(outcomes, RIDGE, self.params.evaluation)

    def measure(self, name: str, row: Row, seed: int) -> dict[str, Outcome]:
        """Return the outcomes of a row with one seed, by name: that of its encoder, and those of its baselines."""
        parts: dict[str, list[Outcome]] = {}
        for task in row.tasks:
            material = row.choose(task, seed)
            encoder = self.fit(task, material)
            benchmark = make_benchmark(task, encoder, self.text_encoder)
            outcomes = {name: measure(benchmark, encoder_scores)}
            if material is None:
                outcomes["caption centroid"] = measure(benchmark, caption_centroid_scores)
                outcomes["chance"] = measure_chance(benchmark)
            elif row.has_baselines:
                of_images = self.measure_images(task, benchmark, encoder, material)
                outcomes |= {f"{features}: {name}": outcome for features, outcome in of_images.items()}
            for method, outcome in outcomes.items():
                parts.setdefault(method, []).append(outcome)
        return {method: join(outcomes) for method, outcomes in parts.items()}

    def measure_images(
        self, task: RetrievalTask, benchmark: Benchmark, encoder: Encoder, material: Material
    ) -> dict[str, Outcome]:
        """Return baseline -> outcome of the regression on features of images."""
        galleries = {image.sha256: image.path for member in task.members for image in member.renderings}
        outcomes = {}
        for name, features in self.features(material.paths | galleries).items():
            vectors = predict_images(
                task, encoder, self.text_encoder, features, material.concepts, material.members
            )
            of_images = with_image_vectors(benchmark, task, vectors)
            outcomes[name] = measure(of_images, caption_centroid_scores)
        return outcomes

    def fit(self, task: RetrievalTask, material: Material | None) -> Encoder:
        """Return the encoder that has learned from the task's training LoRAs, and from concepts."""
        encoder = training.build(self.root, self.section, self.transformer, self.text_encoder)
        concepts = material.concepts if material else None
        examples = task.train_examples
        for _ in training.fit(encoder, examples, task.read, self.text_encoder, self.section, concepts):
            pass
        return encoder

    def features(self, paths: Mapping[str, Path]) -> dict[str, Features]:
        """Return baseline -> features of images, by their sha256; each image is read once."""
        missing = {sha256: path for sha256, path in paths.items() if sha256 not in self.known[COLORS]}
        if missing:
            self.known[COLORS] |= square_colors(missing)
            self.known[JUDGE] |= clip_features(missing, self.clip)
        return dict(self.known)


def always(make: Callable[[int], Material | None]) -> Choose:
    """Return the choice that depends on the seed alone, made once per seed."""
    made: dict[int, Material | None] = {}

    def choose(task: RetrievalTask, seed: int) -> Material | None:
        if seed not in made:
            made[seed] = make(seed)
        return made[seed]

    return choose
