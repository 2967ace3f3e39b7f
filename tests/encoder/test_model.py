"""The encoder on sketches: what must not change a vector, and what must."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autolora.encoder.inputs import join
from autolora.encoder.model import Encoder, EncoderConfig
from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import signs, sketch
from autolora.presets import ENCODER
from tests.support.synthetic_repo import CONFIG, SLOTS, SPEC, fabricate_lora

CONFIGURED = EncoderConfig(
    transformer=CONFIG,
    form=replace(ENCODER["best"], probes=3),
    probe="sketch",
    sketch=SPEC.size,
    spec=SPEC.key,
    width=32,
    layers=2,
    heads=4,
    hidden=64,
    dropout=0.1,
    text_encoder="t" * 64,
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Draw an encoder in which everything shows."""
    return drawn(CONFIGURED)


def configured(preset: str, probe: str) -> EncoderConfig:
    """Return the config of a preset on sketches or on weights."""
    known = CONFIGURED if probe == "sketch" else replace(CONFIGURED, probe="full", sketch=None, spec=None)
    return replace(known, form=replace(ENCODER[preset], probes=3))


EVERY = [(preset, probe) for preset in ENCODER for probe in ("sketch", "full")]


def drawn(config: EncoderConfig) -> Encoder:
    """Return an encoder with random weights also where training starts at zero."""
    torch.manual_seed(1)
    encoder = Encoder(config).eval().requires_grad_(False)
    torch.nn.init.normal_(encoder.positions)
    for projection in encoder.projections:
        torch.nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
    return encoder


def embed(encoder: Encoder, lora: Lora) -> Tensor:
    """Return the vector (d,) of one LoRA."""
    config = encoder.config
    found = config.read_sketch(sketch(lora, SLOTS, SPEC)) if config.sketch else config.read_lora(lora)
    return encoder.embed(found.values, found.present)[0]


def changed(lora: Lora, down: float, up: float, scale: float) -> Lora:
    """Return a LoRA whose factors are multiplied."""
    return {name: Factors(down * one.down, up * one.up, scale * one.scale) for name, one in lora.items()}


@pytest.mark.parametrize(("preset", "probe"), EVERY)
def test_vector_does_not_depend_on_how_the_update_is_factored(preset: str, probe: str) -> None:
    encoder = drawn(configured(preset, probe))
    lora = fabricate_lora("mosaic", 0)
    vector = embed(encoder, lora)
    turned = {}
    for name, one in lora.items():
        gauge = torch.linalg.qr(torch.randn(one.rank, one.rank))[0] * 3
        turned[name] = Factors(gauge @ one.down, one.up @ torch.linalg.inv(gauge), one.scale)
    padded = {
        name: Factors(
            torch.cat((one.down, torch.ones(2, one.down.shape[1]))),
            torch.cat((one.up, torch.zeros(one.up.shape[0], 2)), dim=1),
            one.scale,
        )
        for name, one in lora.items()
    }
    folded = changed(lora, down=1, up=4, scale=0.25)
    shuffled = dict(reversed(lora.items()))
    for other in (turned, padded, folded, shuffled):
        assert torch.allclose(embed(encoder, other), vector, atol=1e-5)


@pytest.mark.parametrize("probe", ["sketch", "full"])
def test_strong_and_weak_adapters_of_one_style_have_one_vector(probe: str) -> None:
    encoder = drawn(configured("best", probe))
    lora = fabricate_lora("mosaic", 0)
    vector = embed(encoder, lora)
    for strength in (1e-4, 0.5, 1e3):
        assert torch.allclose(embed(encoder, changed(lora, 1, 1, strength)), vector, atol=1e-4)


def test_sign_and_relative_strength_of_layers_matter(encoder: Encoder) -> None:
    lora = fabricate_lora("mosaic", 0)
    vector = embed(encoder, lora)
    name = SLOTS[0].name
    louder = {**lora, name: replace(lora[name], scale=20 * lora[name].scale)}
    for other in (changed(lora, 1, -1, 1), louder):
        assert not torch.allclose(embed(encoder, other), vector, atol=1e-3)


def test_absent_slots_are_masked_out(encoder: Encoder) -> None:
    found = sketch(fabricate_lora("mosaic", 0, skip=("norm",)), SLOTS, SPEC)
    rubbish = torch.where(found.present[:, None, None], found.values, torch.full_like(found.values, 7.0))
    values = torch.stack((found.values, rubbish))
    vectors = encoder.embed(values, found.present.expand(2, -1))
    assert torch.allclose(vectors[0], vectors[1], atol=1e-6)
    assert not torch.allclose(
        vectors[0], encoder.embed(rubbish[None], torch.ones(1, len(SLOTS), dtype=bool))[0]
    )


@pytest.mark.parametrize(("preset", "probe"), EVERY)
def test_a_joined_batch_is_its_members(preset: str, probe: str) -> None:
    encoder = drawn(configured(preset, probe))
    loras = [fabricate_lora("mosaic", n, rank=1 + n, skip=("norm",) * (n % 2)) for n in range(3)]
    read = encoder.config.read_lora
    if probe == "sketch":
        read = lambda lora: encoder.config.read_sketch(sketch(lora, SLOTS, SPEC))  # noqa: E731
    batch = join([read(lora) for lora in loras])
    together = encoder.embed(batch.values, batch.present)
    for vector, lora in zip(together, loras, strict=True):
        assert torch.allclose(vector, embed(encoder, lora), atol=1e-5)


def test_sketches_are_encoded_as_the_weights_in_their_span() -> None:
    """With q = (Q·a)ᵀ and W = Sᵀ·C the two probes have the same tokens."""
    config = configured("paper", "sketch")
    encoder, full = drawn(config), drawn(configured("paper", "full"))
    for place, slot in enumerate(config.fused):
        q = signs(f"Q|{slot.name}", slot.d_in, SPEC.size) / SPEC.size**0.5
        s = torch.cat([signs(f"S|{part.name}", part.d_out, SPEC.size) for part in slot.parts])
        full.probes[place][0] = encoder.probes[place] @ q.T
        full.projections[place].weight.copy_(encoder.projections[place].weight @ s.T / SPEC.size**0.5)
        full.projections[place].bias.copy_(encoder.projections[place].bias)
    lora = fabricate_lora("mosaic", 0)
    ours, theirs = config.read_sketch(sketch(lora, SLOTS, SPEC)), full.config.read_lora(lora)
    tokens = encoder.tokens(ours.values, ours.present), full.tokens(theirs.values, theirs.present)
    torch.testing.assert_close(tokens[0], tokens[1], atol=1e-4, rtol=1e-4)


def test_a_batch_is_its_members(encoder: Encoder) -> None:
    sketches = [sketch(fabricate_lora("mosaic", n, skip=("norm",) * (n % 2)), SLOTS, SPEC) for n in range(3)]
    values = torch.stack([one.values for one in sketches])
    present = torch.stack([one.present for one in sketches])
    together = encoder.embed(values, present)
    for n in range(3):
        alone = encoder.embed(values[n : n + 1], present[n : n + 1])
        assert torch.allclose(together[n], alone[0], atol=1e-5)
    assert torch.allclose(together.norm(dim=1), torch.ones(3))


def test_tokens_are_equation_1_restricted_to_the_sketch() -> None:
    encoder = drawn(replace(CONFIGURED, form=replace(CONFIGURED.form, probes=1)))
    found = sketch(fabricate_lora("mosaic", 0), SLOTS, SPEC)
    tokens = encoder.tokens(found.values[None], found.present[None])[0]
    norms = found.values.flatten(1).norm(dim=1)
    for i, slot in enumerate(SLOTS):
        project = encoder.projections[encoder.config.types.index(slot.type)]
        z = (
            encoder.probes[i, 0] @ found.values[i].T / norms[i] * SPEC.size**0.5
        )  # (m,) = aᵀMᵀ, at unit strength
        strength = norms[i].log() - norms.log().mean()
        assert torch.allclose(tokens[i], project(torch.cat((z, strength[None]))), atol=1e-5)


def test_is_rebuilt_from_its_config_alone(encoder: Encoder) -> None:
    config = EncoderConfig.from_json(CONFIGURED.to_json())
    assert config == CONFIGURED
    assert [slot.name for slot in config.slots] == [slot.name for slot in SLOTS]
    rebuilt = Encoder(config).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    lora = fabricate_lora("neon", 1)
    assert torch.equal(embed(rebuilt, lora), embed(encoder, lora))


def test_texts_are_centered_and_normalized(encoder: Encoder) -> None:
    features = torch.randn(3, 32)
    assert torch.allclose(encoder.embed_text(features), torch.nn.functional.normalize(features, dim=1))
    encoder.text_center.copy_(features[0])
    centered = encoder.embed_text(features)
    encoder.text_center.zero_()
    assert torch.allclose(centered[1], torch.nn.functional.normalize(features[1] - features[0], dim=0))


def test_sizes_of_flux_1_dev_on_the_meta_device() -> None:
    flux = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
    with torch.device("meta"):
        encoder = Encoder(replace(CONFIGURED, transformer=flux, sketch=32, width=768, heads=12))
    assert encoder.positions.shape == (494, 768)
    assert len(encoder.projections) == 20
