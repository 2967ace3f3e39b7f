"""Judges of random weights: folders of a CLIP, of a vision-language model and of a classifier."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import (
    ConvNextImageProcessor,
    Qwen2_5_VLForConditionalGeneration,
    ResNetConfig,
    ResNetForImageClassification,
)

from autolora.params import JudgesParams, load
from playground import vlm
from tests.metrics.test_metrics import save_clip

REPOSITORY = Path(__file__).parents[2]
LABELS = ("object:cat", "object:rocket", "object:tree", "style:plain", "style:mosaic", "style:neon")


def params(folder: Path) -> JudgesParams:
    """Save all judges below a folder and return the section that names them."""
    return replace(
        load(REPOSITORY / "params.yaml").judges,
        clip=str(save_clip(folder / "clip")),
        vlm=str(save_vlm(folder / "vlm")),
        classifier=str(save_classifier(folder / "classifier")),
        batch=4,
    )


def save_vlm(folder: Path) -> Path:
    """Save a Qwen2.5-VL of width 64 and one layer, with the playground's processor, that writes only words."""
    torch.manual_seed(0)
    read = vlm.processor()
    model = Qwen2_5_VLForConditionalGeneration(vlm.config(read.tokenizer, width=64, layers=1))
    pieces = read.tokenizer.batch_decode([[number] for number in range(len(read.tokenizer))])
    unspoken = [
        number for number, piece in enumerate(pieces) if not (piece.isascii() and piece.strip().isalpha())
    ]
    model.generation_config.suppress_tokens = unspoken
    model.save_pretrained(folder)
    read.save_pretrained(folder)
    return folder


def save_classifier(folder: Path, labels: Sequence[str] = LABELS) -> Path:
    """Save a ResNet with these labels, for pictures of 32 px."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    ResNetForImageClassification(ResNetConfig(**sizes, **names)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder
