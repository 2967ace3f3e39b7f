"""The rows of the paper's tables: a way to let the adapters of a case act, as the recipe of its images."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolora.generation.images import add_trigger_words
from autolora.metrics.numbers import DIGITS
from studies.paper.cases import Case
from studies.paper.gates import TrainedGates
from studies.paper.images import Part, Recipe
from studies.paper.methods import METHODS, PAIRS_ONLY, Method
from studies.paper.world import World

BASE = "base"
DIRECT = "direct"
PRESETS = ("paper", "released", "best")
"""variants of the gates in Tables 2 to 4"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """A row: who acts, and by which method."""

    name: str
    method: Method = "direct"
    gates: str | None = None
    """of the method `gated`: a key of VARIANTS"""
    acts: bool = True
    """False: the base model draws alone"""
    selects: bool = False
    """only the adapters act that a selection would choose among the loaded ones"""

    def recipe(self, world: World, case: Case) -> Recipe:
        """Return what the images of a case are made from."""
        loaded = case.loaded if self.acts else ()
        relevance: Sequence[float | None] = [None] * len(loaded)
        if self.selects or self.method == "gated":
            relevance = [round(score, DIGITS) for score in world.relevance(case.prompt, loaded)]
        parts = tuple(
            Part(sha256, score)
            for sha256, score in zip(loaded, relevance, strict=True)
            if not self.selects or (score or 0) >= world.params.retrieval.min_relevance
        )
        gates = TrainedGates(self.gates, case.run) if self.gates else None
        return Recipe(case.prompt, parts, self.method, gates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieved:
    """A row of Table 1: the adapters that a search finds for the prompt."""

    name: str
    method: Method = "direct"
    gates: str | None = None
    k: int | None
    """number of first hits; None: a selection, with trigger words, as `autolora generate` does"""

    def recipe(self, world: World, case: Case) -> Recipe:
        """Return what the images of a case are made from."""
        retriever, prompt = world.retriever(), case.prompt
        if self.k is None:
            hits = retriever.select(prompt)
            prompt = add_trigger_words(prompt, hits)
        else:
            hits = retriever.search(prompt, self.k)
        parts = tuple(Part(hit.sha256, hit.relevance) for hit in hits)
        return Recipe(prompt, parts, self.method, TrainedGates(self.gates, case.run) if self.gates else None)


def retrieved_ways() -> list[Way | Retrieved]:
    """Return the rows of Table 1."""
    rows: list[Way | Retrieved] = [Way(name=BASE, acts=False)]
    rows += [
        Retrieved(name=f"gated, {variant}, top {k}", method="gated", gates=variant, k=k)
        for variant in ("paper", "best")
        for k in (1, 2, 3)
    ]
    rows += [Retrieved(name=f"direct, top {k}", k=k) for k in (1, 2, 3)]
    return [*rows, Retrieved(name="selection, as shipped", k=None)]


def fusion_ways(cases: Sequence[Case]) -> list[Way]:
    """Return the rows of Tables 2 to 4: every method that can combine the adapters of these cases."""
    left_out: set[Method] = {"direct", "gated"}
    if any(len(case.loaded) != 2 for case in cases):
        left_out |= set(PAIRS_ONLY)
    return [
        Way(name=BASE, acts=False),
        Way(name=DIRECT),
        Way(name="direct, selected", selects=True),
        *(gated_way(variant) for variant in PRESETS),
        *(Way(name=method, method=method) for method in METHODS if method not in left_out),
    ]


def gated_way(variant: str) -> Way:
    """Return the row of the gates of a variant, a key of VARIANTS."""
    return Way(name=f"gated, {variant}", method="gated", gates=variant)
