"""Tokenizer, processor and configuration of the tiny VLMs.

Architecture class, processor and format of the chat template are those of Qwen2.5-VL, so that transformers and vLLM
run a tiny VLM exactly as they run the real one.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from autolora.params import load as load_params
from playground import world

ROOT = Path(__file__).parents[2]
PATCH, MERGE = 14, 2
"""pixels per side of a patch; patches per side of a token"""
SIDE = 84
"""pixels per side to which an image of 64 pixels is enlarged"""
END = "<|im_end|>"
YES, NO = "yes", "no"
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    END,
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def instructions() -> dict[str, str]:
    """Return the captions stage's instruction for each length of caption, from params.yaml."""
    return asdict(load_params(ROOT / "params.yaml").captions.instructions)


def question() -> str:
    """Return the judges' question about `{text}`, from params.yaml."""
    return load_params(ROOT / "params.yaml").judges.question


def tokenizer() -> Qwen2Tokenizer:
    """Return a byte-level BPE tokenizer trained on the world's captions; it spells unknown words in pieces."""
    rng = np.random.default_rng(0)
    texts = [world.caption(world.sample_scene(rng), rng, n) for n in world.LENGTHS for _ in range(1500)]
    texts += [*instructions().values(), question().format(text=""), "user\nassistant\nsystem\n"] * 20
    texts += [YES, NO] * 500
    trained = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1280, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(texts, trainer)
    trained.add_special_tokens(list(SPECIAL))
    return Qwen2Tokenizer(
        tokenizer_object=trained,
        eos_token=END,
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
        model_max_length=512,
    )


def processor() -> Qwen2_5_VLProcessor:
    """Return the Qwen2.5-VL processor; it enlarges a 64x64 image to 84x84, which makes 9 tokens."""
    # exactly 84 * 84 as longest_edge would round some larger squares down to 56x56
    sizes = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "size": {"shortest_edge": SIDE**2, "longest_edge": SIDE**2 + 1000},
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer(),
        video_processor=Qwen2VLVideoProcessor(**sizes),
        chat_template=CHAT_TEMPLATE,
    )


def config(words: Qwen2Tokenizer, width: int, layers: int) -> Qwen2_5_VLConfig:
    """Return the configuration: `layers` layers each of vision and text, of one width, with heads of 32."""
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    text = {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        # sections of temporal, vertical and horizontal positions: their sum is half a head of 32
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids[END],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": layers,
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_heads": width // 32,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": 112,
        "fullatt_block_indexes": list(range(layers)),
        "out_hidden_size": width,
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )


def save(model: Qwen2_5_VLForConditionalGeneration, reader: Qwen2_5_VLProcessor, home: Path) -> None:
    """Save the model in bf16, with its processor; the model in memory stays float32."""
    home.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = reader.tokenizer.eos_token_id
    model.generation_config.pad_token_id = reader.tokenizer.pad_token_id
    model.generation_config.do_sample = False
    model.to(torch.bfloat16).save_pretrained(home)
    model.float()
    reader.save_pretrained(home)
