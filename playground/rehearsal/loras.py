"""The LoRAs of a rehearsal: 24 files in the layouts of common trainers, at the base model's widths, with known themes.

A theme is a direction of the input and one of the output of every linear. All LoRAs of a theme have its directions in
common; the rest of their weights is noise of their own. Images have the color of the theme, and noise.
"""

import io
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from autolora.lora.slots import Slot, slots
from playground import layouts
from playground.pool import card

THEMES = {
    "watercolor painting": (70, 130, 200),
    "pixel art": (40, 180, 60),
    "red fox": (220, 90, 30),
    "steel robot": (120, 120, 135),
    "neon city at night": (120, 30, 170),
    "clay figure": (200, 170, 40),
}
"""what the captions of a theme's images say -> their mean color"""
FILES = 24
NEWCOMERS = 3
"""files that the hub lists from the second day on"""
RANKS = (16, 4, 32, 8)
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
LAYOUTS = tuple(dict.fromkeys(layout.name for layout in layouts.LAYOUTS))
IMAGES = 3
WITHOUT_IMAGES = range(6, 12)
"""numbers of the files without images, one of each theme"""
THEME_SHARE, NOISE_SHARE = 1.2, 0.5
"""norms of a linear's update in the direction of the theme, and of the rest"""
COLOR_NOISE = 12.0
LIGHTS = ("soft", "hard", "warm", "cold", "dim", "bright")
"""what captions of a theme differ by"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One LoRA of the rehearsal."""

    number: int
    theme: str
    layout: str
    rank: int
    dtype: torch.dtype
    day: int = 1
    """from which the hub lists it"""

    @property
    def repo(self) -> str:
        """Its repository on the hub."""
        name = self.theme.replace(" ", "-")
        return f"author{self.number % 5}/{name}-{self.number}"

    @property
    def images(self) -> int:
        """How many images it comes with."""
        return 0 if self.number in WITHOUT_IMAGES else IMAGES

    @property
    def trigger(self) -> str:
        """Its trigger word."""
        return f"ohwx{self.number}"


def recipes() -> list[Recipe]:
    """Return the recipes of all files: themes, layouts, ranks and precisions in all combinations."""
    names = list(THEMES)
    return [
        Recipe(
            number=number,
            theme=names[number % len(names)],
            layout=LAYOUTS[(number + number // len(LAYOUTS)) % len(LAYOUTS)],
            rank=RANKS[number // len(names) % len(RANKS)],
            dtype=DTYPES[number % len(DTYPES)],
            day=1 if number < FILES - NEWCOMERS else 2,
        )
        for number in range(FILES)
    ]


def build(folder: Path, config: Mapping[str, Any], px: int, recipes: Sequence[Recipe], seed: int = 0) -> None:
    """Write the pool of a hub: repositories with file, card and images, and the schedule.

    config: of the transformer. px: side of an image.
    """
    canonical = slots(config)
    for recipe in recipes:
        home = folder / recipe.repo
        (home / "images").mkdir(parents=True, exist_ok=True)
        _save(recipe, canonical, seed, home / f"{recipe.repo.split('/')[1]}.safetensors")
        for number in range(1, recipe.images + 1):
            picture(recipe.theme, px, seed + IMAGES * recipe.number + number).save(
                home / f"images/{number}.png"
            )
        texts = [f"{recipe.trigger}, picture {number}" for number in range(1, recipe.images + 1)]
        (home / "README.md").write_text(card(recipe.number, recipe.repo, recipe.trigger, texts))
    _write_schedule(folder, recipes)


def _save(recipe: Recipe, canonical: Sequence[Slot], seed: int, path: Path) -> None:
    """Write the file of a recipe in its layout and precision."""
    own = torch.Generator().manual_seed(1_000_000 * seed + recipe.number)
    shared = torch.Generator().manual_seed(1_000_000 * (seed + 1) + list(THEMES).index(recipe.theme))
    lora = {slot.name: _factors(slot, recipe.rank, own, shared) for slot in canonical}
    widths = {slot.name: slot.d_out for slot in canonical}
    tensors = layouts.to_tensors(lora, recipe.layout, widths, recipe.number)
    cast = {name: tensor.to(recipe.dtype) for name, tensor in tensors.items()}
    save_file(cast, path, metadata=layouts.metadata(recipe.layout, {}))


def _factors(
    slot: Slot, rank: int, own: torch.Generator, shared: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (r, d_in) and B (d_out, r): the theme's directions in their first row and column, and noise."""
    down = torch.randn(rank, slot.d_in, generator=own) / slot.d_in**0.5
    up = torch.randn(slot.d_out, rank, generator=own) / slot.d_out**0.5 * NOISE_SHARE / rank**0.5
    down[0] = _unit(slot.d_in, shared)
    up[:, 0] = THEME_SHARE * _unit(slot.d_out, shared)
    return down, up


def _unit(width: int, generator: torch.Generator) -> torch.Tensor:
    vector = torch.randn(width, generator=generator)
    unit: torch.Tensor = vector / vector.norm()
    return unit


def picture(theme: str, px: int, seed: int) -> Image.Image:
    """Return an image with the color of a theme, as noise."""
    noise = np.random.default_rng(seed).normal(THEMES[theme], COLOR_NOISE, (px, px, 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def describe(content: bytes) -> str:
    """Return the caption of an image file: the theme whose color is nearest to its mean, in a light of its own."""
    mean = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float64).mean((0, 1))
    theme = min(THEMES, key=lambda name: float(np.square(mean - THEMES[name]).sum()))
    return f"{theme} in {LIGHTS[zlib.crc32(content) % len(LIGHTS)]} light"


def _write_schedule(folder: Path, recipes: Sequence[Recipe]) -> None:
    rows = [
        {
            "repo": recipe.repo,
            "day": recipe.day,
            "created_at": f"2026-01-01T{recipe.number // 60:02d}:{recipe.number % 60:02d}:00.000Z",
            "downloads": 10 + 7 * recipe.number,
        }
        for recipe in recipes
    ]
    (folder / "schedule.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
