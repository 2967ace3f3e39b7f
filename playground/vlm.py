"""The tiny VLMs: Qwen2_5_VLForConditionalGeneration that describe drawings and answer yes or no about them.

The same architecture class, processor and chat template form as Qwen2.5-VL, so that transformers and
vLLM run it as they run the real one.  Linear heads that name object, colour, background and style from
a picture's tokens help the training along; they are dropped after it.  One is the party that captions
the pool; the other, of another width and seed and taught by other drawings, judges.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from playground import drawings, questions, world
from playground.lessons import (
    END,
    MERGE,
    NO,
    PATCH,
    SIDE,
    YES,
    Lessons,
    enlarge,
    lessons,
)
from playground.states import look, think, told_loss

ROOT = Path(__file__).parent.parent
MODELS = Path(__file__).parent / "models"
BATCH, RATE, EMA = 32, 1e-3, 0.998


@dataclass(frozen=True)
class Recipe:
    """One VLM: where it lives, how large it is (heads of 32), and how it is trained."""

    home: Path
    width: int
    layers: int
    drawings: int
    looking: int
    """steps that train the pictures' part alone"""
    telling: int
    """steps that train everything"""
    questioned: int
    """drawings of the second lesson"""
    answering: int
    """its steps, which train the words' part"""
    seed: int


PARTY = Recipe(
    MODELS / "vlm",
    192,
    layers=3,
    drawings=14000,
    looking=2000,
    telling=3400,
    questioned=5000,
    answering=1800,
    seed=11,
)
JUDGE = Recipe(
    MODELS / "judges" / "vlm",
    128,
    layers=3,
    drawings=12000,
    looking=2000,
    telling=1600,
    questioned=5000,
    answering=1800,
    seed=41,
)
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
    return asdict(load_params(ROOT / "params.yaml").captions.instructions)


def question() -> str:
    """Read what the judges ask, about `{text}`, from params.yaml."""
    return load_params(ROOT / "params.yaml").judges.question


def tokenizer() -> Qwen2Tokenizer:
    """Build a byte-level BPE tokenizer that knows the world's words and spells any other."""
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


def config(words: Qwen2Tokenizer, width: int, layers: int) -> Qwen2_5_VLConfig:
    """Describe the model: as many layers of vision as of text, all of one width, heads of 32."""
    ids = dict(zip(SPECIAL, words.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    text = {
        "vocab_size": len(words),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        # sections of temporal, vertical and horizontal positions: half a head of 32 together
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


class Heads(nn.Module):
    """One linear classifier a field, on the mean of a picture's tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Linear(width, len(names)) for names in world.FIELDS.values())

    def forward(self, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the summed cross entropy of tokens (B, 9, width) against targets (B, 4)."""
        mean = tokens.mean(1)
        return torch.stack([F.cross_entropy(h(mean), target[:, i]) for i, h in enumerate(self.fields)]).sum()


def build(recipe: Recipe, scale: float = 1.0) -> dict[str, float]:
    """Train a VLM for `scale` times its steps, save it, and return what `check` says of it."""
    torch.manual_seed(recipe.seed)
    read = processor()
    count = max(200, round(recipe.drawings * min(1, scale)))
    lesson = lessons(count, read, instructions(), question(), recipe.seed)
    model = Qwen2_5_VLForConditionalGeneration(config(read.tokenizer, recipe.width, recipe.layers))
    looking, telling = (max(1, round(steps * scale)) for steps in (recipe.looking, recipe.telling))
    save(train(model, lesson, looking, telling, recipe), read, recipe.home)
    return {name: round(share, 3) for name, share in check(recipe).items()}


def question_further(recipe: Recipe, scale: float = 1.0) -> dict[str, float]:
    """Teach the saved VLM to answer questions, save it, and return what `check` says of it then."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed + 2)
    read = AutoProcessor.from_pretrained(recipe.home)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(recipe.home, dtype=torch.float32)
    scenes = [world.sample_scene(rng) for _ in range(max(100, round(recipe.questioned * min(1, scale))))]
    pixels = enlarge(drawings.render_scenes(scenes, rng, spoilt=True))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = torch.cat([look(model, drawings.shake(part, by=4)) for part in pixels.split(64)])
    talks = [questions.converse(scene, read, instructions(), question(), rng) for scene in scenes]
    steps = max(1, round(recipe.answering * scale))
    questions.train(model, tokens, talks, steps, recipe.seed, read.tokenizer.pad_token_id)
    save(model, read, recipe.home)
    return {name: round(share, 3) for name, share in check(recipe).items()}


def train(
    model: Qwen2_5_VLForConditionalGeneration, lesson: Lessons, looking: int, telling: int, recipe: Recipe
) -> Qwen2_5_VLForConditionalGeneration:
    """Train the pictures' part by naming, then everything; return the averaged model."""
    heads, started, average = Heads(recipe.width), time.monotonic(), 0.0
    averaged = drawings.Average(model, EMA)
    seeing = [*model.model.visual.parameters(), *heads.parameters()]
    talking = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    optimizer = torch.optim.AdamW([{"params": seeing}, {"params": talking}], lr=RATE, weight_decay=0.03)
    rates = [
        lambda step: drawings.decay(step, looking + telling),
        lambda step: drawings.decay(max(0, step - looking), telling),
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
    order = drawings.batches(len(lesson.pixels), BATCH, looking + telling, recipe.seed)
    for step, rows in enumerate(order):
        with torch.autocast("cpu", torch.bfloat16):
            tokens = look(model, drawings.shake(lesson.pixels[rows], by=4))
            loss = heads(tokens, lesson.fields[rows])
            if step >= looking:
                which = torch.randint(lesson.ids.shape[1], (len(rows),))
                ids, told = lesson.ids[rows, which], lesson.told[rows, which]
                longest = int(told.any(0).nonzero().max()) + 1
                ids, told = ids[:, :longest].long(), told[:, :longest]
                loss = NAMING * loss + told_loss(model, think(model, tokens, ids)[-1], ids, told)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*seeing, *talking], 1.0)
        optimizer.step()
        schedule.step()
        averaged.update(model, step)
        average = loss.item() if step in (0, looking) else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0:
            passed = time.monotonic() - started
            print(f"vlm {step}/{looking + telling} loss {average:.3f} {passed:.0f} s", flush=True)
    return averaged.model


def save(model: Qwen2_5_VLForConditionalGeneration, read: Qwen2_5_VLProcessor, home: Path) -> None:
    """Save the model in bf16 (its weights stay float32 here) with everything that reading it needs."""
    home.mkdir(parents=True, exist_ok=True)
    model.generation_config.eos_token_id = read.tokenizer.eos_token_id
    model.generation_config.pad_token_id = read.tokenizer.pad_token_id
    model.generation_config.do_sample = False
    model.to(torch.bfloat16).save_pretrained(home)
    model.float()
    read.save_pretrained(home)


def check(recipe: Recipe, count: int = 400) -> dict[str, float]:
    """Say how well the saved model does on fresh drawings.

    Return the share of captions that name each field right, and the share of right answers to
    as many true claims as false ones.
    """
    rng = np.random.default_rng(recipe.seed + 1)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    images = [world.draw(scene, rng) for scene in scenes]
    told = answer(images, [instructions()["medium"]] * count, recipe.home)
    pairs = list(zip(scenes, told, strict=True))
    right = {f"names_{f}": float(np.mean([names(t, s, f) for s, t in pairs])) for f in world.FIELDS}
    truth = [i % 2 == 0 for i in range(count)]
    asked = [question().format(text=world.claim(s, rng, true=t)) for s, t in zip(scenes, truth, strict=True)]
    answers = answer(images, asked, recipe.home)
    said = [(YES if t else NO) == a.strip() for t, a in zip(truth, answers, strict=True)]
    return {**right, "yes_or_no": float(np.mean(said))}


@torch.no_grad()
def answer(images: Sequence[Image.Image], asked: Sequence[str], home: Path, batch: int = 50) -> list[str]:
    """Ask a saved model about each picture, greedily, in at most 48 tokens."""
    read = AutoProcessor.from_pretrained(home)
    read.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(home, dtype=torch.float32).eval()
    prompts = [
        read.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}],
            add_generation_prompt=True,
        )
        for text in asked
    ]
    told: list[str] = []
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        inputs = read(text=prompts[part], images=list(images[part]), padding=True, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=48, do_sample=False)
        told += read.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return told


def names(text: str, scene: world.Scene, field: str) -> bool:
    """Say whether a text names a scene's object, colour, background or style, and no other of its kind."""
    spoken = set(world.FIELDS[field]) - {world.PLAIN}  # a plain drawing's style is not told
    return {value for value in spoken if re.search(rf"\b{value}\b", text)} == {getattr(scene, field)} & spoken
