"""studies.paper.ziplora: factors per column of a pair of adapters."""

from pathlib import Path

import pytest
import torch

from studies.paper import ziplora
from studies.paper.cases import object_style_cases
from studies.paper.world import World
from studies.paper.ziplora import ZipLora, zipped


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ziplora, "STEPS", 3)
    monkeypatch.setattr(World, "cache", tmp_path)


def test_factors_of_one_are_the_adapter_itself(world: World) -> None:
    lora = world.generator.load_lora(world.listed(unseen=True)[0].sha256)
    same = zipped(lora, {slot: torch.ones(update.down.shape[1]) for slot, update in lora.items()})
    assert all(torch.equal(same[slot].down, update.down) for slot, update in lora.items())


def test_a_factor_multiplies_a_column_of_the_update(world: World) -> None:
    lora = world.generator.load_lora(world.listed(unseen=True)[0].sha256)
    slot, update = next(iter(lora.items()))
    factors = torch.arange(update.down.shape[1]).float()
    product = zipped({slot: update}, {slot: factors})[slot]
    assert torch.allclose(product.up @ product.down, (update.up @ update.down) * factors, atol=1e-5)


def test_a_pair_is_trained_once_and_the_base_stays(
    world: World, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = object_style_cases(world, 0, 1)[0].loaded
    weights = {
        name: value.clone() for name, value in world.generator.pipeline.transformer.state_dict().items()
    }
    trained = ZipLora(world).updates(pair)
    after = world.generator.pipeline.transformer.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in weights.items())
    for sha256, lora in zip(pair, trained, strict=True):
        plain = world.generator.load_lora(sha256)
        assert any(not torch.equal(lora[slot].down, plain[slot].down) for slot in plain)
        assert all(torch.equal(lora[slot].up, plain[slot].up) for slot in plain)
    monkeypatch.setattr(ZipLora, "_fit", None)  # training again would fail
    again = ZipLora(world).updates(pair)
    assert all(torch.equal(a[s].down, b[s].down) for a, b in zip(trained, again, strict=True) for s in a)


def test_the_penalty_is_of_the_slots_that_both_change() -> None:
    factors = [{"a": torch.tensor([1.0, -2.0]), "b": torch.ones(3)}, {"a": torch.tensor([3.0, 1.0])}]
    assert float(ziplora._overlap(factors)) == pytest.approx(2.5)
