"""Contributions of blocks to a score: they add up to it, and each is that of its block alone."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from autolora.encoder.config import EncoderConfig
from autolora.encoder.contributions import block_contributions
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.ridge import RidgeEncoder
from autolora.presets.encoder import ENCODER
from tests.support.synthetic_repo import CONFIG, SPEC

WIDTH = 8


def random_encoder(slots: str) -> RidgeEncoder:
    """Return a ridge encoder with random weights over canonical or fused slots."""
    variant = replace(ENCODER["best"], slots=slots)
    encoder = RidgeEncoder(
        EncoderConfig(
            transformer=CONFIG | {"num_layers": 2}, variant=variant, width=WIDTH,
            sketch_size=SPEC.size, sketch_key=SPEC.key, text_encoder="t" * 64,
        )
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    encoder.mean.copy_(0.01 * torch.randn(encoder.mean.shape, generator=generator))
    encoder.weights.copy_(torch.randn(encoder.weights.shape, generator=generator))
    return encoder


def random_batch(encoder: RidgeEncoder) -> AdapterBatch:
    generator = torch.Generator().manual_seed(1)
    count = len(encoder.config.slots)
    values = torch.randn(1, count, SPEC.size, SPEC.size, generator=generator)
    return AdapterBatch(values, torch.ones(1, count, dtype=torch.bool))


@pytest.mark.parametrize(
    ("slots", "blocks"),
    [
        ("canonical", ["transformer_blocks.0", "transformer_blocks.1", "single_transformer_blocks.0"]),
        ("fused", ["blocks.0", "blocks.1", "single_blocks.0"]),
    ],
)
def test_contributions_of_all_blocks_add_up_to_the_score(slots: str, blocks: list[str]) -> None:
    encoder = random_encoder(slots)
    batch = random_batch(encoder)
    query = functional.normalize(torch.arange(WIDTH).float(), dim=0)
    contributions = block_contributions(encoder, batch, query)
    score = float(encoder.embed(batch.values, batch.present)[0] @ query)
    assert list(contributions) == blocks
    assert sum(contributions.values()) == pytest.approx(score, abs=1e-5)
    assert len({round(part, 6) for part in contributions.values()}) == 3


def test_a_block_whose_weights_are_zero_contributes_nothing() -> None:
    encoder = random_encoder("canonical")
    names = [slot.name for slot in encoder.config.slots]
    in_block = torch.tensor([name.startswith("transformer_blocks.1.") for name in names])
    encoder.weights.view(len(names), -1, WIDTH)[in_block] = 0
    contributions = block_contributions(encoder, random_batch(encoder), torch.eye(WIDTH)[0])
    assert contributions["transformer_blocks.1"] == 0
    assert all(part for block, part in contributions.items() if block != "transformer_blocks.1")
