"""Accuracy of a saved tiny VLM on fresh drawings: its captions, and its yes-or-no answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from playground import world
from playground.vlm.model import NO, YES, instructions, question


def check(home: Path, seed: int, count: int = 400) -> dict[str, float]:
    """Return the accuracies of the model in `home` on `count` drawings that its training with `seed` has not used.

    `names_FIELD`: share of captions that name the field's value; `yes_or_no`: share of right answers about claims,
    half of which are true.
    """
    rng = np.random.default_rng(seed + 1)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    images = [world.draw(scene, rng) for scene in scenes]
    captions = answer(images, [instructions()["medium"]] * count, home)
    pairs = list(zip(scenes, captions, strict=True))
    named = {f"names_{f}": float(np.mean([names(c, s, f) for s, c in pairs])) for f in world.FIELDS}
    truth = [i % 2 == 0 for i in range(count)]
    prompts = [
        question().format(text=world.claim(s, rng, true=t)) for s, t in zip(scenes, truth, strict=True)
    ]
    answers = answer(images, prompts, home)
    is_right = [(YES if t else NO) == a.strip() for t, a in zip(truth, answers, strict=True)]
    return {**named, "yes_or_no": float(np.mean(is_right))}


@torch.no_grad()
def answer(images: Sequence[Image.Image], prompts: Sequence[str], home: Path, batch: int = 50) -> list[str]:
    """Return a saved model's answer to one prompt per image: greedy, at most 48 tokens."""
    reader = AutoProcessor.from_pretrained(home)
    reader.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(home, dtype=torch.float32).eval()
    texts = [
        reader.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}],
            add_generation_prompt=True,
        )
        for prompt in prompts
    ]
    answers: list[str] = []
    for start in range(0, len(images), batch):
        part = slice(start, start + batch)
        inputs = reader(text=texts[part], images=list(images[part]), padding=True, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=48, do_sample=False)
        answers += reader.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


def names(text: str, scene: world.Scene, field: str) -> bool:
    """Return whether a text names the scene's value of a field, and no other value of that field.

    A plain drawing has no style to name, so its text must name none.
    """
    nameable = set(world.FIELDS[field]) - {world.PLAIN}
    named = {value for value in nameable if re.search(rf"\b{value}\b", text)}
    return named == {getattr(scene, field)} & nameable
