"""studies.paper.mole: weights of the adapters per block of the transformer."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.errors import MissingArtifact
from autolora.fusion.install import fused
from autolora.lora.factors import Lora
from studies.paper import mole
from studies.paper.cases import object_style_cases
from studies.paper.mole import Mixture, MixtureGates, Mole, find_blocks, imbalance
from studies.paper.world import World


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mole, "STEPS", 3)
    monkeypatch.setattr(World, "cache", tmp_path)


@pytest.fixture
def transformer(world: World) -> Any:
    return world.generator.pipeline.transformer


def pair(world: World) -> tuple[str, ...]:
    return object_style_cases(world, 0, 1)[0].loaded


def loras(world: World) -> list[Lora]:
    return [world.generator.load_lora(sha256) for sha256 in pair(world)]


def random_gates(transformer: Any, adapters: int) -> MixtureGates:
    """Return gates whose weights differ by the block and the sample."""
    gates = MixtureGates(transformer, adapters).requires_grad_(False)
    gates.weight.copy_(torch.randn(gates.weight.shape, generator=torch.Generator().manual_seed(0)) * 5)
    return gates


def call(transformer: Any, samples: int = 2) -> Tensor:
    """Return the velocity that the transformer predicts for random inputs."""
    rng, config = torch.Generator().manual_seed(0), transformer.config
    with torch.no_grad():
        velocity: Tensor = transformer(
            hidden_states=torch.randn(samples, 4, config.in_channels, generator=rng),
            encoder_hidden_states=torch.randn(samples, 3, config.joint_attention_dim, generator=rng),
            pooled_projections=torch.randn(samples, config.pooled_projection_dim, generator=rng),
            timestep=torch.full((samples,), 0.5),
            guidance=torch.ones(samples),
            txt_ids=torch.zeros(3, 3),
            img_ids=torch.zeros(4, 3),
            return_dict=False,
        )[0]
    return velocity


def mixed(transformer: Any, loras: Sequence[Lora], gates: MixtureGates) -> Tensor:
    with Mixture(loras, gates).attach(transformer):
        return call(transformer)


def test_weights_sum_to_one_and_differ_by_block_and_sample(world: World, transformer: Any) -> None:
    mixture = Mixture(loras(world), random_gates(transformer, 2))
    with mixture.attach(transformer):
        call(transformer)
    weights = torch.stack([*mixture.weights.values()])
    assert weights.shape == (len(find_blocks(transformer)), 2, 2)
    assert torch.allclose(weights.sum(-1), torch.ones(weights.shape[:2]))
    assert weights.std(0).min() > 0.01 and (weights[:, 0] - weights[:, 1]).abs().max() > 1e-4


def test_one_adapter_acts_as_its_update(world: World, transformer: Any) -> None:
    lora = loras(world)[0]
    with fused(transformer, [lora]):
        alone = call(transformer)
    assert torch.allclose(mixed(transformer, [lora], random_gates(transformer, 1)), alone, atol=1e-5)


def test_equal_adapters_act_as_one_whatever_the_weights(world: World, transformer: Any) -> None:
    lora = loras(world)[0]
    with fused(transformer, [lora]):
        alone = call(transformer)
    assert torch.allclose(mixed(transformer, [lora, lora], random_gates(transformer, 2)), alone, atol=1e-5)


def test_at_the_start_the_output_of_a_block_is_the_mean_of_the_adapters(
    world: World, transformer: Any
) -> None:
    block, adapters = find_blocks(transformer)[0], loras(world)
    outputs: list[Tensor] = []
    handle = block.register_forward_hook(lambda module, inputs, output: outputs.append(output[1]))
    for lora in adapters:
        with fused(transformer, [lora]):
            call(transformer)
    handle.remove()
    with Mixture(adapters, MixtureGates(transformer, 2)).attach(transformer):
        handle = block.register_forward_hook(lambda module, inputs, output: outputs.append(output[1]))
        call(transformer)
    handle.remove()
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert torch.allclose(outputs[2], (outputs[0] + outputs[1]) / 2, atol=1e-5)


def test_the_order_of_adapters_is_that_of_the_numbers_of_a_gate(world: World, transformer: Any) -> None:
    gates, swapped = random_gates(transformer, 2), MixtureGates(transformer, 2).requires_grad_(False)
    swapped.weight.copy_(torch.cat([*reversed(gates.weight.chunk(2, dim=1))], dim=1).flip(-1))
    first, second = loras(world)
    output = mixed(transformer, [first, second], gates)
    assert torch.allclose(mixed(transformer, [second, first], swapped), output, atol=1e-5)
    assert not torch.allclose(mixed(transformer, [second, first], gates), output, atol=1e-4)


def test_a_higher_temperature_makes_weights_more_equal(transformer: Any) -> None:
    gates, changes = random_gates(transformer, 2), torch.randn(3, 2, 64)
    sharp = gates(0, changes)
    gates.temperature.fill_(3.0)
    assert ((gates(0, changes) - 0.5).abs() < (sharp - 0.5).abs()).all()


def test_the_imbalance_is_smallest_if_the_means_over_blocks_are_equal() -> None:
    opposite = [torch.tensor([[0.9, 0.1]]), torch.tensor([[0.1, 0.9]])]
    assert float(imbalance(opposite)) == pytest.approx(2 * math.log(2))
    one_sided = [torch.tensor([[0.9, 0.1]]), torch.tensor([[0.7, 0.3]])]
    assert float(imbalance(one_sided)) == pytest.approx(-math.log(0.8 * 0.2))


def test_gates_are_trained_once_and_the_base_stays(
    world: World, short: None, transformer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: value.clone() for name, value in transformer.state_dict().items()}
    plain = call(transformer)
    gates = Mole(world).gates(pair(world))
    assert gates.weight.abs().sum() > 0
    assert gates.temperature.min() >= 1 and gates.temperature.max() <= 3
    with Mole(world).attach(pair(world)):
        assert not torch.allclose(call(transformer), plain, atol=1e-4)
    assert torch.equal(call(transformer), plain)
    assert all(torch.equal(value, before[name]) for name, value in transformer.state_dict().items())
    monkeypatch.setattr(Mole, "_fit", None)  # training again would fail
    again = Mole(world).gates(pair(world))
    assert torch.equal(gates.weight, again.weight) and torch.equal(gates.temperature, again.temperature)


def test_a_killed_training_begins_again_and_gives_the_same(
    world: World, short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Mole(world).gates(pair(world))
    for file in (tmp_path / "mole").iterdir():
        file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(mole, "imbalance", lambda weights: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Mole(world).gates(pair(world))
    assert not list((tmp_path / "mole").glob("*"))
    assert torch.equal(Mole(world).gates(pair(world)).weight, first.weight)


def test_an_adapter_without_captions_is_an_error_that_names_it(world: World, short: None) -> None:
    with pytest.raises(MissingArtifact, match=f"captioned image of adapter {'f' * 64}: run `dvc repro"):
        Mole(world).gates(["f" * 64])
