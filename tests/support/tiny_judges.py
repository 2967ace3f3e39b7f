"""Judges with random weights: folders of a CLIP model, of a vision-language model and of a classifier."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    ConvNextImageProcessor,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    MistralConfig,
    Qwen2_5_VLForConditionalGeneration,
    ResNetConfig,
    ResNetForImageClassification,
)

from autolora.params import JudgesParams, load
from playground.vlm import model as playground_vlm

REPOSITORY = Path(__file__).parents[2]
LABELS = ("object:cat", "object:rocket", "object:tree", "style:plain", "style:mosaic", "style:neon")

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %}"
)


def params(folder: Path) -> JudgesParams:
    """Save all judges below a folder; return the section of params.yaml that names them."""
    return replace(
        load(REPOSITORY / "params.yaml").judges,
        clip=str(save_clip(folder / "clip")),
        vlm=str(save_vlm(folder / "vlm")),
        classifier=str(save_classifier(folder / "classifier")),
        batch=4,
    )


def save_vlm(folder: Path) -> Path:
    """Save a Qwen2.5-VL of width 64 and one layer, with the playground's processor, that writes only letters."""
    torch.manual_seed(0)
    processor = playground_vlm.processor()
    config = playground_vlm.config(processor.tokenizer, width=64, layers=1)
    model = Qwen2_5_VLForConditionalGeneration(config)
    texts = processor.tokenizer.batch_decode([[token] for token in range(len(processor.tokenizer))])
    model.generation_config.suppress_tokens = [
        token for token, text in enumerate(texts) if not (text.isascii() and text.strip().isalpha())
    ]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_llava(folder: Path) -> Path:
    """Save a LLaVA-NeXT of one layer per tower, which splits images into tiles of 28 px."""
    torch.manual_seed(0)
    tokenizer = playground_vlm.processor().tokenizer
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    tower = {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    grids = [[28, 56], [56, 28], [56, 56]]
    vision = CLIPVisionConfig(**tower, hidden_size=16, image_size=28, patch_size=14, projection_dim=16)
    text = MistralConfig(**tower, vocab_size=len(tokenizer), hidden_size=32, num_key_value_heads=1)
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    towers = {"vision_config": vision, "text_config": text, "image_token_index": image_token}
    config = LlavaNextConfig(**towers, image_grid_pinpoints=grids, vision_feature_layer=-1)
    LlavaNextForConditionalGeneration(config).save_pretrained(folder)
    crop = {"height": 28, "width": 28}
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": 28}, crop_size=crop, image_grid_pinpoints=grids
        ),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    ).save_pretrained(folder)
    return folder


def save_classifier(folder: Path, labels: Sequence[str] = LABELS) -> Path:
    """Save a ResNet with these labels, for images of 32 px."""
    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    ResNetForImageClassification(ResNetConfig(**sizes, **names)).save_pretrained(folder)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=1.0).save_pretrained(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """Save a random CLIPModel of width 16 with tokenizer and image processor."""
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    letters = [*"abcdefghijklmnopqrstuvwxyz,"]
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    end = vocab["<|endoftext|>"]
    text = {**tower, "vocab_size": len(vocab), "max_position_embeddings": 24, "projection_dim": 8}
    text |= {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    vision = {**tower, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=24).save_pretrained(folder)
    square = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False).save_pretrained(folder)
    return folder


def noise_images(count: int) -> list[Image.Image]:
    """Return images of noise, 64 px per side."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(count)]
