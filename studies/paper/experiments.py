"""The paper's tables: which rows are compared on which cases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from studies.paper.cases import Case, object_style_cases, random_sets
from studies.paper.gates import VARIANTS
from studies.paper.images import Recipe
from studies.paper.prompts import OTHER, SYNTHETIC, other_prompts, synthetic_prompts
from studies.paper.rows import BASE, DIRECT, PRESETS, Retrieved, Way, fusion_ways, gated_way, retrieved_ways
from studies.paper.world import World

WITHOUT_GLOBAL = " without global LoRA"
"""end of the names of rows"""
GLOBAL = tuple(f"{preset}{end}" for preset in ("paper", "best") for end in ("", WITHOUT_GLOBAL))
"""variants of the gates in Table 5"""
QUALITY = ("prompt similarity", "VQAScore", "HPSv2.1", "MPS", "Aesthetic", "CLIP-FlanT5 VQAScore")


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How much is measured; the defaults are those of the published tables."""

    runs: tuple[int, ...] = (0, 1, 2)
    """seeds of the gates, and of the draws of cases and images"""
    prompts: int = 24
    """of each set of Table 1"""
    images: int = 3
    """per prompt of the other tables"""
    sets: int = 12
    """random pairs and triples, per run"""
    objects: int = 3
    """largest number of objects in Table 2; the paper has 3, and 8 styles"""
    styles: int = 8
    gates: tuple[str, ...] = tuple(VARIANTS)
    """variants of the gates that have rows"""
    other_prompts: Path | None = None
    """file of the prompts of Table 1 that no adapter suggested"""


@dataclass(frozen=True, slots=True)
class Cell:
    """The images of one row for one case."""

    row: str
    case: Case
    recipe: Recipe

    def belongs_to(self, size: Size) -> bool:
        """Return whether the row is measured: only those of some variants of the gates are."""
        return self.recipe.gates is None or self.recipe.gates.variant in size.gates


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """A table."""

    title: str
    plan: Callable[[World, Size, int], list[Cell]]
    """world, size, run -> cells; each row has the same cases in one order"""
    gates: tuple[str, ...]
    """variants that some rows use"""
    scores: tuple[str, ...]
    """that are printed, if they exist"""
    reference: Callable[[str], str]
    """row -> the row that it is compared with"""


def _cells(world: World, cases: Sequence[Case], ways: Sequence[Way | Retrieved]) -> list[Cell]:
    return [Cell(way.name, case, way.recipe(world, case)) for case in cases for way in ways]


def retrieval(kind: str, world: World, size: Size, run: int) -> list[Cell]:
    """Return the cells of a half of Table 1. kind: SYNTHETIC or OTHER."""
    if kind == SYNTHETIC:
        cases = synthetic_prompts(world, size.prompts, run)
    else:
        cases = other_prompts(world, size.other_prompts, size.prompts, run)
    return _cells(world, cases, retrieved_ways())


def object_style(world: World, size: Size, run: int) -> list[Cell]:
    """Return the cells of Table 2."""
    cases = object_style_cases(world, run, size.images, limits=(size.objects, size.styles))
    return _cells(world, cases, fusion_ways(cases))


def random_pairs(world: World, size: Size, run: int) -> list[Cell]:
    """Return the cells of Table 3."""
    cases = random_sets(world, 2, size.sets, run, size.images)
    return _cells(world, cases, fusion_ways(cases))


def random_triples(world: World, size: Size, run: int) -> list[Cell]:
    """Return the cells of Table 4."""
    cases = random_sets(world, 3, size.sets, run, size.images)
    return _cells(world, cases, fusion_ways(cases))


def global_lora(world: World, size: Size, run: int) -> list[Cell]:
    """Return the cells of Table 5, on the cases of Table 4."""
    cases = random_sets(world, 3, size.sets, run, size.images)
    return _cells(world, cases, [Way(name=DIRECT), *map(gated_way, GLOBAL)])


def _with_global_lora(row: str) -> str:
    """Return the row of the same preset with the global LoRA."""
    return row.removesuffix(WITHOUT_GLOBAL)


SHOWN = ("all shown", *QUALITY)
EXPERIMENTS: Mapping[str, Experiment] = {
    "1 synthetic": Experiment(
        title="Table 1, prompts that describe images of adapters",
        plan=partial(retrieval, SYNTHETIC), gates=("paper", "best"), scores=QUALITY, reference=lambda row: BASE,
    ),
    "1 other": Experiment(
        title="Table 1, prompts that no adapter suggested",
        plan=partial(retrieval, OTHER), gates=("paper", "best"), scores=QUALITY, reference=lambda row: BASE,
    ),
    "2": Experiment(
        title="Table 2, an object and a style", plan=object_style, gates=PRESETS,
        scores=(*SHOWN, "own 1", "own 2", "crop 1", "crop 2"), reference=lambda row: DIRECT,
    ),
    "3": Experiment(
        title="Table 3, random pairs", plan=random_pairs, gates=PRESETS,
        scores=(*SHOWN, "alone 1", "alone 2"), reference=lambda row: DIRECT,
    ),
    "4": Experiment(
        title="Table 4, random triples", plan=random_triples, gates=PRESETS,
        scores=(*SHOWN, "alone 1", "alone 2", "alone 3"), reference=lambda row: DIRECT,
    ),
    "5": Experiment(
        title="Table 5, the global LoRA on random triples", plan=global_lora, gates=GLOBAL,
        scores=(*SHOWN, "alone 1", "alone 2", "alone 3"), reference=_with_global_lora,
    ),
}  # fmt: skip
"""name -> experiment, in the order of the report; a name begins with the number of the paper's table"""
