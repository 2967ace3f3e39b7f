"""Small encoders to publish, and the ways in which a published folder is damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autolora.encoder.config import EncoderConfig
from autolora.encoder.ridge import RidgeEncoder
from autolora.lora.sketch import SketchSpec
from autolora.presets.encoder import ENCODER

TRANSFORMER = {
    "num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16,
}  # fmt: skip
"""that of tests.support.tiny_flux"""
SKETCH = SketchSpec(8)


def ridge_encoder(text_encoder: str, rank: int = 5, width: int = 16) -> RidgeEncoder:
    """Return a regression whose weights are random and of this rank. text_encoder: digest."""
    config = EncoderConfig(
        transformer=TRANSFORMER,
        variant=ENCODER["best"],
        width=width,
        sketch_size=SKETCH.size,
        sketch_key=SKETCH.key,
        text_encoder=text_encoder,
    )
    encoder = RidgeEncoder(config)
    generator = torch.Generator().manual_seed(0)
    for tensor in (encoder.mean, encoder.mean_target, encoder.text_map.center, encoder.text_map.matrix):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    left = torch.randn(len(encoder.mean), rank, generator=generator)
    encoder.weights.copy_(left @ torch.randn(rank, width, generator=generator))
    return encoder.eval().requires_grad_(False)


def rewrite_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def flip_byte(path: Path) -> None:
    """Invert the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)
