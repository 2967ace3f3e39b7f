"""The pool's repositories around the trained LoRAs: cards, bad files, the schedule, and the true themes."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import load, save

from playground import authors, flux, loras, oracle, world
from playground.themes import parts

HOME = Path(__file__).parent
POOL, THEMES = HOME / "pool", HOME / "themes.json"
BASE_MODEL = "black-forest-labs/FLUX.1-dev"
BAD_FILE = "lora.safetensors"
BAD = {
    "tok-lab/old-checkpoint": "pickle",
    "nh-paint/oil-look": "wrong base",
    "duneworks/upload-cut": "truncated",
    "hana-k/scaled-to-nothing": "zero effect",
    "grauwolf/exploded": "not finite",
}
_LICENSES = ("apache-2.0", "mit", "other", "cc-by-nc-4.0", "creativeml-openrail-m", "cc-by-4.0")
_BODIES = (
    "",
    "# {name}\n\nTrained for fun. Use `{trigger}` in your prompt.\n",
    "# {name}\n\n<Gallery />\n\n## Trigger words\n\nYou should use `{trigger}`.\n",
    "# Photoreal portraits\n\nBest LoRA for photos of people. More soon!\n",
    "WIP, do not use yet.\n",
)
_ADULT_EVERY = 17
"""every so many repositories, one has the tag not-for-all-audiences"""


def build() -> dict[str, float]:
    """Write cards, bad files, schedule and themes; return sizes and accuracies of the pool."""
    recipes = authors.recipes()
    write(recipes, POOL, THEMES, BAD)
    _write_bad(recipes[0])
    return {"repositories": len(recipes) + len(BAD), "bytes": size(POOL), **check(recipes, POOL)}


def write(recipes: Sequence[authors.Recipe], home: Path, themes: Path, others: Iterable[str] = ()) -> None:
    """Write cards, schedule and themes around trained LoRAs; remove repositories of an earlier build.

    others: repositories of the first day without a recipe.
    """
    _remove_others(home, {*(recipe.repo for recipe in recipes), *others})
    for number, recipe in enumerate(recipes):
        _write_card(home, number, recipe.repo, recipe.trigger, loras.prompts(recipe))
    _write_schedule(home, {recipe.repo: recipe.day for recipe in recipes} | dict.fromkeys(others, 1))
    _write_themes(recipes, home, themes)


def _remove_others(home: Path, repos: set[str]) -> None:
    """Remove repositories of an earlier build that are not in `repos`."""
    for folder in home.glob("*/*"):
        if folder.is_dir() and folder.relative_to(home).as_posix() not in repos:
            shutil.rmtree(folder)


def check(recipes: Sequence[authors.Recipe], home: Path) -> dict[str, float]:
    """Return the shares of renderings in which the oracle recognizes the theme, by kind of theme."""
    judge = oracle.load()
    hits: dict[str, list[bool]] = {}
    for recipe in recipes:
        folder, named = home / recipe.repo / "images", parts(recipe.theme).items()
        images = [Image.open(folder / f"{i}.png") for i in range(1, recipe.renderings + 1)]
        predicted = oracle.classify(judge, oracle.stack(images))
        hits.setdefault(recipe.kind, []).extend(named <= vars(scene).items() for scene in predicted)
    return {f"{kind}_shown": round(sum(values) / len(values), 3) for kind, values in hits.items()}


def size(folder: Path) -> int:
    """Return the total size of a folder's files in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def card(number: int, repo: str, trigger: str, texts: list[str]) -> str:
    """Return a model card: front matter as in a Hugging Face LoRA card, and a short body."""
    tags = ["flux", "lora", "diffusers", "text-to-image", "template:sd-lora"]
    if number % _ADULT_EVERY == _ADULT_EVERY - 1:
        tags.append("not-for-all-audiences")
    matter = {
        "license": _LICENSES[number % len(_LICENSES)],
        "base_model": BASE_MODEL,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": tags,
        "instance_prompt": trigger,
        "widget": [{"text": words, "output": {"url": f"images/{i}.png"}} for i, words in enumerate(texts, 1)],
    }
    body = _BODIES[number % len(_BODIES)].format(name=repo.split("/")[1], trigger=trigger)
    return f"---\n{yaml.safe_dump(matter, sort_keys=False)}---\n{body}"


def _write_card(home: Path, number: int, repo: str, trigger: str, texts: list[str]) -> None:
    path = home / repo / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card(number, repo, trigger, texts))


def _write_bad(example: authors.Recipe) -> None:
    """Write the repositories whose file the pool must refuse, each with one rendering.

    Some of the files are derived from the LoRA of `example`.
    """
    valid = (POOL / example.repo / example.file).read_bytes()
    content = {
        "pickle": pickle.dumps({"lora_down": [0.1, 0.2], "lora_up": [0.3]}, protocol=2),
        "wrong base": save(_sd15_lora(), metadata={"ss_base_model_version": "sd_v1"}),
        "truncated": valid[: len(valid) * 6 // 10],
        "zero effect": save({key: value * ("lora_A" in key) for key, value in load(valid).items()}),
        "not finite": save({key: torch.full_like(value, torch.nan) for key, value in load(valid).items()}),
    }
    rng = np.random.default_rng(11)
    scenes = [flux.sample_scene(rng) for _ in BAD]
    texts = [world.caption(scene, rng, "short", "badlra") for scene in scenes]
    images = flux.sample(flux.load(), texts, seed=11)
    for number, (repo, fault) in enumerate(BAD.items()):
        _write_card(POOL, number, repo, "badlra", texts[number : number + 1])
        (POOL / repo / BAD_FILE).write_bytes(content[fault])
        (POOL / repo / "images").mkdir(exist_ok=True)
        images[number].save(POOL / repo / "images" / "1.png", optimize=True)


def _sd15_lora() -> dict[str, torch.Tensor]:
    """Return a LoRA of rank 2 with the module names and widths of Stable Diffusion 1.5."""
    generator = torch.Generator().manual_seed(5)
    state = {}
    for block, width in ((0, 320), (1, 640), (2, 1280)):
        for part in ("to_q", "to_k", "to_v", "to_out_0"):
            key = f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn1_{part}"
            down, up = torch.randn(2, width, generator=generator), torch.zeros(width, 2)
            state[f"{key}.lora_down.weight"] = down.to(torch.float16)
            state[f"{key}.lora_up.weight"] = up.to(torch.float16) + 0.01
            state[f"{key}.alpha"] = torch.tensor(1.0)
    return state


def _write_schedule(home: Path, days: Mapping[str, int]) -> None:
    """Write schedule.jsonl, one line per repository: the day on which it appears, its date and its downloads."""
    rng = np.random.default_rng(12)
    lines = []
    for repo, day in sorted(days.items(), key=lambda item: (item[1], item[0])):
        stamp = f"2026-01-{day:02d}T{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:00.000Z"
        downloads = int(10 ** rng.uniform(0.5, 4))
        lines.append({"repo": repo, "day": day, "created_at": stamp, "downloads": downloads})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (home / "schedule.jsonl").write_text(text)


def _write_themes(recipes: Sequence[authors.Recipe], home: Path, path: Path) -> None:
    """Write sha256 of each LoRA file -> its theme."""
    themes = {
        hashlib.sha256((home / r.repo / r.file).read_bytes()).hexdigest(): {
            "theme": r.theme,
            "kind": r.kind,
            "author": r.author,
            "repo": r.repo,
        }
        for r in recipes
    }
    path.write_text(json.dumps(themes, indent=2) + "\n")
