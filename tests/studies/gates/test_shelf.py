"""Gates and methods of `python -m studies.gates`, on a tiny transformer."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autolora.fusion import store as fusion
from autolora.fusion.flow_matching import add_noise, predict_velocity
from autolora.fusion.rules import Adapter
from autolora.lora.slots import slots
from studies.gates import shelf as shelf_module
from studies.gates.cells import KEPT, Recipe, recipes_of
from studies.gates.images import PLAIN, attach
from studies.gates.shelf import Shelf
from tests.support.gate_training import LORAS, SHIPPED, encode_texts, training_set
from tests.support.tiny_flux import CONFIG, build_pipeline

FUSION = replace(SHIPPED.fusion, steps=4, validate_every=2, batch=2)
RECIPE = Recipe(cell="full, distilled", learning_rate=0.05, kept="last step")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    pipeline = build_pipeline()
    pipeline.transformer.requires_grad_(False)
    return pipeline


@pytest.fixture
def world(pipeline: Any, tmp_path: Path) -> Any:
    generation = replace(SHIPPED.generation, steps=3)
    models = replace(SHIPPED.models, pipeline="tiny", threads=1)
    return SimpleNamespace(
        root=tmp_path,
        cache=tmp_path / "cache" / "gates_bench",
        params=replace(SHIPPED, fusion=FUSION, generation=generation, models=models),
        generator=SimpleNamespace(pipeline=pipeline, slots=slots(CONFIG)),
        training=training_set(),
        held_out=training_set(),
        unseen=training_set(),
    )


def test_gates_are_trained_once_and_both_kinds_are_kept(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = Shelf(world).training(RECIPE, 0)
    assert list(facts.held_out) == ["0", "2", "4"]
    assert facts.held_out[str(facts.best_step)] == min(facts.held_out.values())
    assert facts.unseen.keys() == set(KEPT)
    monkeypatch.setattr(shelf_module, "fit", lambda *_: pytest.fail("trained again"))
    shelf = Shelf(world)
    assert shelf.is_finished(RECIPE, 0) and not shelf.is_finished(RECIPE, 1)
    assert shelf.training(RECIPE, 0) == facts
    last, best = (
        fusion.hash_weights(shelf.load(replace(RECIPE, kept=kept), 0)) for kept in ("last step", KEPT[0])
    )
    assert (last == best) == (facts.best_step == FUSION.steps)
    assert not list(world.cache.rglob("state.pt"))


def test_a_recipe_without_training_is_the_gates_at_the_start(world: Any) -> None:
    (recipe,) = recipes_of("untrained")
    torch.manual_seed(0)
    start = fusion.build(CONFIG, SHIPPED.fusion.variant)
    assert fusion.hash_weights(Shelf(world).load(recipe, 0)) == fusion.hash_weights(start)


def predict(pipeline: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(1, 4, 16, generator=generator) for _ in range(2))
    batch = add_noise(clean, noise, torch.tensor([0.5]), encode_texts(["text"]), torch.device("cpu"))
    with torch.no_grad():
        return predict_velocity(pipeline.transformer, batch, 1.0)


@pytest.mark.parametrize(
    ("name", "relevant"), [*zip(PLAIN, [("a", "b"), ("a", "b", "c"), ("a", "b")], strict=True)]
)
def test_the_mask_leaves_out_what_seems_irrelevant(pipeline: Any, name: str, relevant: Sequence[str]) -> None:
    loaded = [Adapter(key, LORAS[key], score) for key, score in (("a", 0.9), ("b", 0.6), ("c", 0.4))]
    chosen = [Adapter(key, LORAS[key], 1.0) for key in relevant]
    with attach(pipeline, loaded, name, None):
        found = predict(pipeline)
    with attach(pipeline, chosen, "masked velocity sum" if "velocity" in name else "sum", None):
        torch.testing.assert_close(found, predict(pipeline))
    with attach(pipeline, [replace(adapter, relevance=0.1) for adapter in loaded], "masked sum", None):
        base = predict(pipeline)
    torch.testing.assert_close(base, predict(pipeline))
    assert not torch.allclose(base, found)
