"""studies.paper.images and gates: what is drawn, what is taken from the cache, and what is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.errors import MissingArtifact
from studies.paper.cases import object_style_cases
from studies.paper.gates import VARIANTS, GateShelf, TrainedGates, section_of
from studies.paper.images import ImageCache, Part, Recipe
from studies.paper.methods import METHODS, PAIRS_ONLY
from studies.paper.rows import Way, fusion_ways
from studies.paper.world import World

FIRST, SECOND = Part("a" * 64), Part("b" * 64)


@pytest.fixture
def fresh(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the world with an empty cache."""
    monkeypatch.setattr(World, "cache", tmp_path / "cache")
    return world


def shelf(world: World) -> GateShelf:
    return GateShelf(world.root, world.params, world.cache)


def test_an_image_is_drawn_once(fresh: World) -> None:
    recipe = Way(name="direct").recipe(fresh, object_style_cases(fresh, 0, 1)[0])
    images = ImageCache(fresh, shelf(fresh))
    first = images.images(recipe, [0, 1])
    again = ImageCache(fresh, shelf(fresh))
    second = again.images(recipe, [1, 2, 0])
    assert (images.drawn, again.drawn) == (2, 1)
    assert [np.array_equal(first[0], second[2]), np.array_equal(first[1], second[0])] == [True, True]


def test_recipes_that_differ_in_nothing_that_acts_share_images() -> None:
    assert Recipe("a cat", (replace(FIRST, relevance=0.5),), "dare").simplified() == Recipe("a cat", (FIRST,))
    assert Recipe("a cat", (), "gated", TrainedGates("best", 0)).simplified() == Recipe("a cat", ())
    gated = Recipe("a cat", (replace(FIRST, relevance=0.5),), "gated", TrainedGates("best", 0))
    assert gated.simplified() == gated
    pair = Recipe("a cat", (FIRST, SECOND), "dare")
    assert pair.simplified() == pair != Recipe("a cat", (SECOND, FIRST), "dare").simplified()


def test_every_difference_that_acts_has_another_key(fresh: World) -> None:
    images = ImageCache(fresh, shelf(fresh))
    pair = Recipe("a cat", (FIRST, SECOND))
    recipes = [
        pair,
        replace(pair, prompt="a dog"),
        replace(pair, parts=(SECOND, FIRST)),
        replace(pair, method="dare"),
        *(replace(pair, method="gated", gates=TrainedGates(name, 0)) for name in VARIANTS),
        replace(pair, method="gated", gates=TrainedGates("best", 1)),
    ]
    keys = {images.key(recipe, seed) for recipe in recipes for seed in (0, 1)}
    assert len(keys) == 2 * len(recipes)


def test_gates_are_trained_once_per_variant_and_seed(fresh: World) -> None:
    gates = TrainedGates("paper without global LoRA", 1)
    slots = fresh.generator.slots
    with pytest.raises(MissingArtifact, match="no trained gates"):
        shelf(fresh).load(gates, slots)
    shelf(fresh).train([gates])
    first = shelf(fresh).load(gates, slots)
    files = sorted((fresh.cache / "gates").glob("*/data/fusion/*"))
    dates = [file.stat().st_mtime_ns for file in files]
    shelf(fresh).train([gates])
    second = shelf(fresh).load(gates, slots)
    assert [file.stat().st_mtime_ns for file in files] == dates and len(files) == 3
    assert first.variant == second.variant and first.variant.global_rank == 0


def test_a_training_has_the_size_and_the_overrides_of_params(world: World) -> None:
    params = world.params.fusion
    section = section_of(params, TrainedGates("paper", 2))
    assert (section.steps, section.batch, section.seed) == (params.steps, params.batch, 2)
    assert section.variant.learning_rate == params.variant.learning_rate == 0.005
    assert section.variant.gate == "full" and not section.variant.relevance


def test_rows_are_the_methods_that_can_combine_the_adapters(world: World) -> None:
    pairs = object_style_cases(world, 0, 1)
    names = [way.name for way in fusion_ways(pairs)]
    assert names[:3] == ["base", "direct", "direct, selected"]
    assert {*names[3:]} == {"gated, paper", "gated, released", "gated, best", "dare", *PAIRS_ONLY}
    larger = [replace(case, loaded=(*case.loaded, pairs[-1].loaded[1])) for case in pairs]
    assert {*names} - {way.name for way in fusion_ways(larger)} == {*PAIRS_ONLY}


def test_a_selection_leaves_out_adapters_of_low_relevance(world: World) -> None:
    case = object_style_cases(world, 0, 1)[0]
    chosen = replace(world, relevance=lambda prompt, loaded: (0.9, 0.1))
    parts = Way(name="direct, selected", selects=True).recipe(chosen, case).parts
    assert [part.sha256 for part in parts] == [case.loaded[0]]


def test_only_methods_for_pairs_depend_on_the_order(world: World) -> None:
    case = object_style_cases(world, 0, 1)[0]
    for method in METHODS:
        once, reversed_ = (
            Way(name="", method=method).recipe(world, replace(case, loaded=loaded))
            for loaded in (case.loaded, case.loaded[::-1])
        )
        assert (once.computed() == reversed_.computed()) == (method not in PAIRS_ONLY)


def test_the_base_model_draws_alone(world: World) -> None:
    case = object_style_cases(world, 0, 1)[0]
    assert Way(name="base", acts=False).recipe(world, case) == Recipe(case.prompt, ())
