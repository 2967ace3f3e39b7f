"""The world of the study: a repository with a pool, a training lock and judges; which adapters train, and which pairs
choose and report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.dataset.store import TrainingRow, training_lock
from autolora.experiments.cases import CandidateAdapter, PromptCase, candidates, draw_cases
from autolora.fusion.examples import ExampleReader, find_examples
from autolora.fusion.stage import base_files
from autolora.fusion.training_set import TrainingSet
from autolora.generation.images import Generator
from autolora.metrics.judges import Judges, load_judges
from autolora.metrics.judgments import read_judgments
from autolora.params import Params, load
from autolora.storage.hashes import hash_value

CACHE = Path("cache", "gates_bench")
CHOICE_PER_KIND = 4
"""objects, and styles, of the training split that the gates are not trained on: their pairs choose the recipes"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class World:
    """A repository, with what the study needs of it."""

    root: Path
    params: Params
    adapters: Mapping[str, CandidateAdapter]
    """sha256 -> adapter of the training or test split"""
    choice: frozenset[str]
    """sha256 of the training split's adapters that choose recipes"""
    generator: Generator
    judges: Judges
    training: TrainingSet
    held_out: TrainingSet
    """the adapters that choose recipes, and those of the validation split"""
    unseen: TrainingSet
    """the adapters of the test split"""

    @property
    def cache(self) -> Path:
        """Return the folder of trained gates and results."""
        return self.root / CACHE

    def pairs(self, *, unseen: bool, count: int, seed: int) -> list[PromptCase]:
        """Return prompts that name an object and a style: of unseen adapters, or of those that choose recipes."""
        listed = [
            adapter
            for sha256, adapter in sorted(self.adapters.items())
            if (adapter.unseen if unseen else sha256 in self.choice)
        ]
        cases = draw_cases(listed, count, seed)
        return [case for case in cases if case.scenario == "pair"]

    def others(self, case: PromptCase) -> list[CandidateAdapter]:
        """Return the adapters of the same population that a pair's prompt does not name, by sha256."""
        named = [self.adapters[sha256] for sha256 in case.adapters]
        topics = {adapter.topic for adapter in named}
        return [
            adapter
            for sha256, adapter in sorted(self.adapters.items())
            if (adapter.unseen if named[0].unseen else sha256 in self.choice) and adapter.topic not in topics
        ]


def open_world(root: Path) -> World:
    """Return the world of a repository; the working directory must be its root, to which params.yaml is relative."""
    params = load(root / "params.yaml")
    judgments = read_judgments(root / params.evaluation.themes if params.evaluation.themes else None)
    listed = {adapter.sha256: adapter for adapter in candidates(root, judgments)}
    judges = load_judges(params.judges, params.models)
    if judges.classifier is None:
        raise SystemExit("judges.classifier in params.yaml is null: `both shown` needs a classifier")
    generator = Generator(root, params.models, params.pool)
    reader = ExampleReader(
        root, generator.pipeline, params.pool, base_files=base_files(root, params.models),
        size=params.fusion.image_size, tokens=params.generation.max_sequence_length,
    )  # fmt: skip
    choice = choose_adapters(list(listed.values()), CHOICE_PER_KIND)
    rows = training_lock(root).rows

    def examples(wanted: Sequence[TrainingRow]) -> TrainingSet:
        return reader.training_set(find_examples(root, wanted))

    return World(
        root=root,
        params=params,
        adapters=listed,
        choice=choice,
        generator=generator,
        judges=judges,
        training=examples([row for row in rows if row.split == "train" and row.sha256 not in choice]),
        held_out=examples([row for row in rows if row.split == "validation" or row.sha256 in choice]),
        unseen=examples([row for row in rows if row.split == "test"]),
    )


def choose_adapters(adapters: Sequence[CandidateAdapter], per_kind: int) -> frozenset[str]:
    """Return the sha256 of objects and styles of the training split, `per_kind` of each, of different themes."""
    chosen: dict[str, dict[str, str]] = {"object": {}, "style": {}}
    for adapter in sorted(adapters, key=lambda adapter: hash_value(["choice", adapter.sha256])):
        themes = chosen.get(adapter.kind or "")
        if themes is not None and not adapter.unseen and adapter.theme and len(themes) < per_kind:
            themes.setdefault(adapter.theme, adapter.sha256)
    return frozenset(sha256 for themes in chosen.values() for sha256 in themes.values())
