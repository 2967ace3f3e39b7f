"""The cells of `python -m studies.gates`, their recipes, and the adapters of its situations."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autolora.experiments.cases import CandidateAdapter
from autolora.params import load
from studies.gates.cases import RELEVANT, SITUATIONS, load_case
from studies.gates.cells import CELLS, KEPT, params_of, recipes_of
from studies.gates.world import World, choose_adapters
from tests.studies.gates.test_tables import pair

PARAMS = load(Path(__file__).parents[3] / "params.yaml")


def adapter(sha256: str, kind: str, theme: str, *, unseen: bool) -> CandidateAdapter:
    return CandidateAdapter(
        sha256=sha256, family=sha256, unseen=unseen, kind=kind, theme=theme, renderings=("r",),
        captions_by_rendering=(("a caption",),), trigger_words=(),
    )  # fmt: skip


def world_of(*adapters: CandidateAdapter) -> Any:
    listed = {adapter.sha256: adapter for adapter in adapters}
    world = SimpleNamespace(adapters=listed, choice=frozenset())
    world.others = lambda case: World.others(world, case)  # type: ignore[arg-type]
    return world


WORLD = world_of(
    *(adapter(name, "object", name, unseen=True) for name in "abcde"),
    adapter("w", "style", "w", unseen=True),
    adapter("other-file-of-a", "object", "a", unseen=True),
    adapter("seen", "object", "seen", unseen=False),
)
CASE = pair("a", "w")


@pytest.mark.parametrize("cell", CELLS)
def test_every_recipe_gives_params_that_train_all_steps(cell: str) -> None:
    for recipe in recipes_of(cell):
        section = params_of(PARAMS, recipe, seed=2)
        assert (section.seed, section.patience) == (2, PARAMS.fusion.steps)
        assert recipe.learning_rate in (None, section.variant.learning_rate)
        is_distilled = CELLS[cell].distilled
        assert is_distilled == cell.endswith("distilled")
        assert not is_distilled or section.variant.guidance == PARAMS.generation.guidance
    assert len(recipes_of(cell)) == max(1, len(CELLS[cell].learning_rates) * len(KEPT))


@pytest.mark.parametrize(("situation", "count"), [("right", 2), ("unnamed", 3), ("many", 5), ("uneven", 2)])
def test_situations_load_the_pair_first_and_unnamed_adapters_of_the_same_population(
    situation: str, count: int
) -> None:
    loaded = load_case(WORLD, CASE, SITUATIONS[situation])
    names = [one.sha256 for one in loaded]
    assert names[:2] == ["a", "w"] and len(set(names)) == count
    assert not {"seen", "other-file-of-a"} & set(names)
    assert loaded == load_case(WORLD, CASE, SITUATIONS[situation])
    if situation == "uneven":
        assert sorted(one.strength for one in loaded) == [0.6, 1.4]
    else:
        assert {one.strength for one in loaded} == {1.0}


def test_right_relevance_masks_the_unnamed_and_wrong_relevance_errs() -> None:
    exact = replace(SITUATIONS["many"], noise=0.0)
    assert [one.relevance for one in load_case(WORLD, CASE, exact)] == [1, 1, 0, 0, 0]
    errors = 0
    for number in range(40):
        case = replace(CASE, prompt=str(number))
        loaded = load_case(WORLD, case, SITUATIONS["wrong"])
        errors += [one.relevance > RELEVANT for one in loaded] != [True, True, False]
        assert all(0 <= one.relevance <= 1 for one in loaded)
    assert 5 < errors < 30


def test_adapters_that_choose_have_different_themes_and_are_of_the_training_split() -> None:
    seen = [
        adapter(f"{kind}{i}", kind, f"{kind}{i // 2}", unseen=False)
        for kind in ("object", "style")
        for i in range(8)
    ]
    unseen = [
        adapter("test", "object", "test", unseen=True),
        adapter("scene", "scene", "scene", unseen=False),
    ]
    chosen = choose_adapters([*seen, *unseen], per_kind=3)
    themes = [one.theme for one in seen if one.sha256 in chosen]
    assert len(chosen) == len(set(themes)) == 6
    assert chosen == choose_adapters([*unseen, *reversed(seen)], per_kind=3)
