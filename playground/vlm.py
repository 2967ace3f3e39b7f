"""The tiny VLM: a Qwen2_5_VLForConditionalGeneration that describes drawings when it is told to.

The same architecture class, processor and chat template form as Qwen2.5-VL, so that transformers and
vLLM run it as they run the real one.  Linear heads that name object, colour, background and style from
a picture's tokens help the training along; they are dropped after it.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from torch import nn
from torch.nn import functional as F
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from autolora.params import load as load_params
from playground import drawings, world
from playground.lessons import END, FIELDS, GRID, MERGE, PATCH, SIDE, Lessons, lessons, patches, shake

ROOT = Path(__file__).parent.parent
HOME = Path(__file__).parent / "models" / "vlm"
WIDTH, LAYERS, HEADS, KEY_HEADS = 192, 3, 6, 2
DRAWINGS, BATCH, RATE, SEED = 9000, 32, 1e-3, 11
LOOKING, TELLING = 2200, 3000  # steps: the pictures' part alone, then everything
NAMING = 0.3  # weight of the heads' loss beside the answers'

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
    """Read what the captions stage asks, by length, from params.yaml."""
    return dataclasses.asdict(load_params(ROOT / "params.yaml").captions.instructions)


def tokenizer() -> Qwen2Tokenizer:
    """Build a byte-level BPE tokenizer that knows the world's words and spells any other."""
    rng = np.random.default_rng(0)
    texts = [world.caption(world.sample_scene(rng), rng, n) for n in world.LENGTHS for _ in range(1500)]
    texts += [*instructions().values(), "user\nassistant\nsystem\n"] * 20
    trained = Tokenizer(BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    trained.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, show_progress=False)
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
    """Build the Qwen2.5-VL processor; a 64x64 picture becomes 84x84, which is 9 tokens."""
    # longest_edge leaves some room: exactly 84 * 84 would round some larger squares down to 56x56
    form = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "size": {"shortest_edge": SIDE**2, "longest_edge": SIDE**2 + 1000},
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**form),
        tokenizer=tokenizer(),
        video_processor=Qwen2VLVideoProcessor(**form),
        chat_template=CHAT_TEMPLATE,
    )


def config(words: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """Describe the model: three layers of vision and three of text, all of width 192, heads of 32."""
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    text = {
        "vocab_size": len(words),
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_HEADS,
        "max_position_embeddings": 1024,
        # sections of temporal, vertical and horizontal positions: half a head of 32 together
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids[END],
        "pad_token_id": ids["<|endoftext|>"],
    }
    vision = {
        "depth": LAYERS,
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_heads": HEADS,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": 112,
        "fullatt_block_indexes": list(range(LAYERS)),
        "out_hidden_size": WIDTH,
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


class Heads(nn.Module):
    """One linear classifier a field, on the mean of a picture's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Linear(WIDTH, len(names)) for names in FIELDS.values())

    def forward(self, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the summed cross entropy of tokens (B, 9, 192) against targets (B, 4)."""
        mean = tokens.mean(1)
        return torch.stack([F.cross_entropy(h(mean), target[:, i]) for i, h in enumerate(self.fields)]).sum()


def look(model: Qwen2_5_VLForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Turn pixels (B, 3, 84, 84) into the pictures' tokens (B, 9, 192)."""
    grid = torch.tensor([[1, GRID, GRID]]).expand(len(pixels), -1)
    tokens = model.model.visual(patches(pixels), grid_thw=grid).pooler_output
    return torch.as_tensor(tokens).float().view(len(pixels), -1, WIDTH)


def tell(
    model: Qwen2_5_VLForConditionalGeneration, tokens: torch.Tensor, ids: torch.Tensor, told: torch.Tensor
) -> torch.Tensor:
    """Return the cross entropy of the answers (B, L) given the pictures' tokens (B, 9, 192).

    Padding stands at the end and attention only looks back, so it needs no mask.
    """
    pictures = ids == model.config.image_token_id
    embedded = model.get_input_embeddings()(ids).masked_scatter(pictures[..., None], tokens)
    grid = torch.tensor([[1, GRID, GRID]])
    places, _ = model.model.get_rope_index(ids[:1], pictures[:1].int(), image_grid_thw=grid)
    places = places.expand(-1, len(ids), -1)  # every conversation starts with a picture of this size
    hidden = model.model.language_model(inputs_embeds=embedded, position_ids=places).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][told[:, 1:]])
    return F.cross_entropy(logits.float(), ids[:, 1:][told[:, 1:]])


def build(scale: float = 1.0) -> dict[str, float]:
    """Train the VLM for `scale` times its steps, save it, and return what `check` says of it."""
    torch.manual_seed(SEED)
    read = processor()
    lesson = lessons(max(200, round(DRAWINGS * min(1, scale))), read, instructions(), SEED)
    model = Qwen2_5_VLForConditionalGeneration(config(read.tokenizer))
    train(model, lesson, max(1, round(LOOKING * scale)), max(1, round(TELLING * scale)))
    save(model, read)
    return {f"names_{field}": round(share, 3) for field, share in check().items()}


def train(model: Qwen2_5_VLForConditionalGeneration, lesson: Lessons, looking: int, telling: int) -> None:
    """Train the pictures' part by naming for `looking` steps, then everything for `telling` steps."""
    heads, started, average = Heads(), time.monotonic(), 0.0
    seeing = [*model.model.visual.parameters(), *heads.parameters()]
    talking = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    optimiser = torch.optim.AdamW([{"params": seeing}, {"params": talking}], lr=RATE, weight_decay=0.03)
    rates = [
        lambda step: drawings.decay(step, looking + telling),
        lambda step: drawings.decay(max(0, step - looking), telling),
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rates)
    for step, rows in enumerate(drawings.batches(len(lesson.pixels), BATCH, looking + telling, SEED)):
        with torch.autocast("cpu", torch.bfloat16):
            tokens = look(model, shake(lesson.pixels[rows]))
            loss = heads(tokens, lesson.fields[rows])
            if step >= looking:
                which = torch.randint(lesson.ids.shape[1], (len(rows),))
                ids, told = lesson.ids[rows, which], lesson.told[rows, which]
                loss = NAMING * loss + tell(model, tokens, ids, told)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*seeing, *talking], 1.0)
        optimiser.step()
        schedule.step()
        average = loss.item() if step in (0, looking) else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0:
            print(
                f"vlm {step}/{looking + telling} loss {average:.3f} {time.monotonic() - started:.0f} s",
                flush=True,
            )


def save(model: Qwen2_5_VLForConditionalGeneration, read: Qwen2_5_VLProcessor) -> None:
    """Save the model in bf16 (its weights stay float32 here) with everything that reading it needs."""
    HOME.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = read.tokenizer.eos_token_id
    model.generation_config.pad_token_id = read.tokenizer.pad_token_id
    model.generation_config.do_sample = False
    model.to(torch.bfloat16).save_pretrained(HOME)
    model.float()
    read.save_pretrained(HOME)


def check(count: int = 400, seed: int = SEED + 1) -> dict[str, float]:
    """Return the share of fresh drawings whose saved model's caption names each field right."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    told = describe([world.draw(scene, rng) for scene in scenes], instructions()["medium"])
    pairs = list(zip(scenes, told, strict=True))
    return {field: float(np.mean([names(text, scene, field) for scene, text in pairs])) for field in FIELDS}


@torch.no_grad()
def describe(images: Sequence[Image.Image], instruction: str, batch: int = 50) -> list[str]:
    """Describe pictures with the saved model, greedily, in at most 48 tokens."""
    read = AutoProcessor.from_pretrained(HOME)
    model = AutoModelForImageTextToText.from_pretrained(HOME, dtype=torch.float32).eval()
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    prompt = read.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    told: list[str] = []
    for start in range(0, len(images), batch):
        part = list(images[start : start + batch])
        inputs = read(text=[prompt] * len(part), images=part, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=48, do_sample=False)
        told += read.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return told


def names(text: str, scene: world.Scene, field: str) -> bool:
    """Say whether a text names a scene's object, colour, background or style, and no other of its kind."""
    spoken = set(FIELDS[field]) - {world.PLAIN}  # a plain drawing's style is not told
    return {value for value in spoken if re.search(rf"\b{value}\b", text)} == {getattr(scene, field)} & spoken


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Train the playground's tiny VLM.")
    arguments.add_argument("--scale", type=float, default=1.0, help="share of the drawings and steps")
    print(build(arguments.parse_args().scale))
