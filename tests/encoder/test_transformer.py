"""The encoder on sketches and on weights: which changes of an adapter change its vector, and which do not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch, concatenate
from autolora.encoder.transformer import TransformerEncoder
from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import signs, sketch
from autolora.presets import Preset
from autolora.presets.encoder import ENCODER, Probe
from tests.support.synthetic_repo import CONFIG, SLOTS, SPEC, make_lora

SMALL = {"probes": 3, "layers": 2, "heads": 4, "mlp_ratio": 2}
PRESETS_AND_PROBES = [(preset, probe) for preset in ENCODER for probe in ("sketch", "full")]


def config_of(preset: Preset, probe: Probe, **overrides: object) -> EncoderConfig:
    """Return the config of a small encoder of this preset on sketches or on weights."""
    on_sketches = probe == "sketch"
    return EncoderConfig(
        transformer=CONFIG,
        variant=replace(ENCODER[preset], model="transformer", probe=probe, **SMALL | overrides),  # type: ignore[arg-type]
        width=32,
        sketch_size=SPEC.size if on_sketches else None,
        sketch_key=SPEC.key if on_sketches else None,
        text_encoder="t" * 64,
    )


BEST = config_of("best", "sketch")


def random_encoder(config: EncoderConfig) -> TransformerEncoder:
    """Return an encoder with random weights, also those that are zero before training."""
    torch.manual_seed(1)
    encoder = TransformerEncoder(config).eval().requires_grad_(False)
    torch.nn.init.normal_(encoder.positions)
    for projection in encoder.projections:
        torch.nn.init.normal_(projection.weight, std=projection.in_features**-0.5)
    return encoder


@pytest.fixture(scope="module")
def encoder() -> TransformerEncoder:
    return random_encoder(BEST)


def read(config: EncoderConfig, lora: Lora) -> AdapterBatch:
    """Return a LoRA as the encoder's input."""
    if config.variant.probe == "sketch":
        return config.sketch_to_batch(sketch(lora, SLOTS, SPEC))
    return config.lora_to_batch(lora)


def embed(encoder: TransformerEncoder, lora: Lora) -> Tensor:
    """Return the vector (d,) of one LoRA."""
    batch = read(encoder.config, lora)
    return encoder.embed(batch.values, batch.present)[0]


def multiplied(lora: Lora, down: float, up: float, scale: float) -> Lora:
    """Return a LoRA whose factors and scales are multiplied."""
    return {
        name: Factors(down * factors.down, up * factors.up, scale * factors.scale)
        for name, factors in lora.items()
    }


@pytest.mark.parametrize(("preset", "probe"), PRESETS_AND_PROBES)
def test_vector_does_not_depend_on_the_factorization(preset: Preset, probe: Probe) -> None:
    encoder = random_encoder(config_of(preset, probe))
    lora = make_lora("mosaic", 0)
    vector = embed(encoder, lora)
    rotated = {}
    for name, factors in lora.items():
        gauge = torch.linalg.qr(torch.randn(factors.rank, factors.rank))[0] * 3
        rotated[name] = Factors(gauge @ factors.down, factors.up @ torch.linalg.inv(gauge), factors.scale)
    padded = {
        name: Factors(
            torch.cat((factors.down, torch.ones(2, factors.down.shape[1]))),
            torch.cat((factors.up, torch.zeros(factors.up.shape[0], 2)), dim=1),
            factors.scale,
        )
        for name, factors in lora.items()
    }
    folded = multiplied(lora, down=1, up=4, scale=0.25)
    reordered = dict(reversed(lora.items()))
    for other in (rotated, padded, folded, reordered):
        assert torch.allclose(embed(encoder, other), vector, atol=1e-5)


def test_vector_depends_on_sign_and_on_relative_strength_of_slots(encoder: TransformerEncoder) -> None:
    lora = make_lora("mosaic", 0)
    vector = embed(encoder, lora)
    name = SLOTS[0].name
    stronger_slot = {**lora, name: replace(lora[name], scale=20 * lora[name].scale)}
    for other in (multiplied(lora, 1, -1, 1), stronger_slot):
        assert not torch.allclose(embed(encoder, other), vector, atol=1e-3)


def test_values_of_missing_slots_are_masked(encoder: TransformerEncoder) -> None:
    partial = sketch(make_lora("mosaic", 0, skip=("norm",)), SLOTS, SPEC)
    changed = torch.where(
        partial.present[:, None, None], partial.values, torch.full_like(partial.values, 7.0)
    )
    values = torch.stack((partial.values, changed))
    vectors = encoder.embed(values, partial.present.expand(2, -1))
    assert torch.allclose(vectors[0], vectors[1], atol=1e-6)
    all_present = torch.ones(1, len(SLOTS), dtype=torch.bool)
    assert not torch.allclose(vectors[0], encoder.embed(changed[None], all_present)[0])


@pytest.mark.parametrize(("preset", "probe"), PRESETS_AND_PROBES)
def test_vectors_do_not_depend_on_the_rest_of_the_batch(preset: Preset, probe: Probe) -> None:
    encoder = random_encoder(config_of(preset, probe))
    loras = [make_lora("mosaic", n, rank=1 + n, skip=("norm",) * (n % 2)) for n in range(3)]
    batch = concatenate([read(encoder.config, lora) for lora in loras])
    vectors = encoder.embed(batch.values, batch.present)
    for vector, lora in zip(vectors, loras, strict=True):
        assert torch.allclose(vector, embed(encoder, lora), atol=1e-5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3))


def test_sketch_and_full_probes_give_the_same_tokens_in_the_span_of_the_sketch() -> None:
    """With q = (Q·a)ᵀ and W = Sᵀ·C the two probes have the same tokens."""
    on_sketches = random_encoder(config_of("paper", "sketch"))
    on_weights = random_encoder(config_of("paper", "full"))
    for index, slot in enumerate(on_weights.config.fused):
        q = signs(f"Q|{slot.name}", slot.d_in, SPEC.size) / SPEC.size**0.5
        s = torch.cat([signs(f"S|{part.name}", part.d_out, SPEC.size) for part in slot.parts])
        sketch_projection, full_projection = on_sketches.projections[index], on_weights.projections[index]
        on_weights.probes[index][0] = on_sketches.probes[index] @ q.T
        full_projection.weight.copy_(sketch_projection.weight @ s.T / SPEC.size**0.5)
        full_projection.bias.copy_(sketch_projection.bias)
    lora = make_lora("mosaic", 0)
    tokens = [
        encoder.tokens(batch.values)
        for encoder in (on_sketches, on_weights)
        for batch in [read(encoder.config, lora)]
    ]
    torch.testing.assert_close(tokens[0], tokens[1], atol=1e-4, rtol=1e-4)


def test_encoder_is_rebuilt_from_its_config_alone(encoder: TransformerEncoder) -> None:
    config = EncoderConfig.from_json(BEST.to_json())
    assert config == BEST
    assert [slot.name for slot in config.slots] == [slot.name for slot in SLOTS]
    rebuilt = TransformerEncoder(config).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    lora = make_lora("neon", 1)
    assert torch.equal(embed(rebuilt, lora), embed(encoder, lora))


def test_text_features_are_centered_and_normalized(encoder: TransformerEncoder) -> None:
    features = torch.randn(3, 32)
    assert torch.allclose(encoder.text_map(features), torch.nn.functional.normalize(features, dim=1))
    encoder.text_map.center.copy_(features[0])
    centered = encoder.text_map(features)
    encoder.text_map.center.zero_()
    assert torch.allclose(centered[1], torch.nn.functional.normalize(features[1] - features[0], dim=0))


def test_sizes_at_flux_1_dev() -> None:
    flux = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
    with torch.device("meta"):
        encoder = TransformerEncoder(
            replace(config_of("best", "sketch", heads=12), transformer=flux, width=768)
        )
    assert encoder.positions.shape == (494 * SMALL["probes"], 768)
    assert len(encoder.projections) == 20
