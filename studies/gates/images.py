"""Images of all methods on the same prompts, adapters, relevances and seeds, and what the classifier sees in them.

Rows are appended to cache/gates_bench/rows.jsonl of a world; those that exist are not drawn again.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from autolora.experiments.cases import PromptCase
from autolora.fusion.gate import Gates
from autolora.fusion.install import Attachment
from autolora.fusion.methods import strengthened
from autolora.fusion.rules import Adapter
from autolora.fusion.rules.direct import Direct
from autolora.fusion.rules.gated import Gated
from autolora.generation.images import generate_images
from autolora.metrics.judges import detect
from autolora.storage.files import append_rows, read_rows
from autolora.storage.hashes import hash_value
from studies.gates.cases import RELEVANT, SITUATIONS, Loaded, load_case
from studies.gates.cells import Recipe
from studies.gates.shelf import Shelf
from studies.gates.world import World
from studies.paper.rules.velocity import Velocity

PLAIN = ("masked sum", "sum", "masked velocity sum")
"""methods without gates; the first is what all others are compared with"""


@dataclass(frozen=True, slots=True)
class Method:
    """A method without gates, or the gates of a recipe and a seed."""

    name: str
    """one of PLAIN, or the cell of the gates"""
    recipe: Recipe | None = None
    seed: int = 0


class Results:
    """Share of images in which both named adapters show, per method, situation and pair."""

    def __init__(self, world: World, shelf: Shelf, seeds: Sequence[int]) -> None:
        """seeds: of the images."""
        self._world, self._shelf, self._seeds = world, shelf, seeds
        self._path = world.cache / "rows.jsonl"
        self._rows = {row["key"]: float(row["both_shown"]) for row in read_rows(self._path)}

    def find(self, method: Method, situation: str, case: PromptCase) -> float | None:
        """Return the share of a pair's images that show both, 0 to 1; None if they are not drawn yet."""
        return self._rows.get(self._key(method, situation, case))

    def measure(self, method: Method, situation: str, case: PromptCase) -> float:
        """Return the share of a pair's images that show both, 0 to 1; draw them first if necessary."""
        key = self._key(method, situation, case)
        if key not in self._rows:
            loaded = load_case(self._world, case, SITUATIONS[situation])
            gates = self._shelf.load(method.recipe, method.seed) if method.recipe else None
            self._rows[key] = self._draw(case, loaded, method.name, gates)
            row = {"key": key, "method": method.name, "situation": situation, "both_shown": self._rows[key]}
            append_rows(self._path, [row])
        return self._rows[key]

    def _key(self, method: Method, situation: str, case: PromptCase) -> str:
        gates = None
        if method.recipe is not None:
            gates = [self._shelf.key(method.recipe, method.seed), method.recipe.kept]
        loaded = [
            [adapter.sha256, adapter.relevance, adapter.strength]
            for adapter in load_case(self._world, case, SITUATIONS[situation])
        ]
        return hash_value([method.name, gates, case.prompt, loaded, list(self._seeds)])

    def _draw(self, case: PromptCase, loaded: Sequence[Loaded], name: str, gates: Gates | None) -> float:
        world = self._world
        classifier = world.judges.classifier
        assert classifier is not None
        params = world.params.generation
        adapters = [
            Adapter(
                one.sha256, strengthened(world.generator.load_lora(one.sha256), one.strength), one.relevance
            )
            for one in loaded
        ]
        with attach(world.generator.pipeline, adapters, name, gates):
            prompts = [case.prompt] * len(self._seeds)
            images = generate_images(world.generator.pipeline, prompts, self._seeds, params)
        return float(np.prod(detect(classifier, images, case.themes), axis=0).mean())


def attach(pipeline: Any, adapters: Sequence[Adapter], name: str, gates: Gates | None) -> Attachment:
    """Let adapters act by one of PLAIN, or through gates; return what removes them."""
    if gates is not None:
        return Gated(gates).attach(pipeline, adapters)
    relevant = [adapter for adapter in adapters if (adapter.relevance or 0) > RELEVANT]
    chosen = adapters if name == "sum" else relevant
    if not chosen:
        return ExitStack()
    if name == "masked velocity sum" and len(chosen) > 1:
        return Velocity().attach(pipeline, chosen)
    return Direct().attach(pipeline, chosen)
