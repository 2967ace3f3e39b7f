"""Contact sheets: what the playground draws, laid out to be looked at.

python -m playground.sheets
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from playground import flux, world

HOME = Path(__file__).parent
SHEETS = HOME / "sheets"
PICTURES = HOME.parent / "docs" / "pictures"
FUSION_METHODS = ("base", "direct", "gated")
LABEL_PX = 80


def sheet(rows: Sequence[Sequence[Image.Image]], scale: int = 1) -> Image.Image:
    """Lay 64x64 images out in rows, two pixels apart; `scale` enlarges them."""
    cell = world.SIZE * scale + 2
    width = max(len(row) for row in rows) * cell
    page = Image.new("RGB", (width, len(rows) * cell), (255, 255, 255))
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            size = (world.SIZE * scale, world.SIZE * scale)
            page.paste(image.resize(size, Image.Resampling.NEAREST), (x * cell, y * cell))
    return page


def world_sheet() -> Image.Image:
    """Draw each object (columns) in each style (rows)."""
    rng = np.random.default_rng(0)
    colours, places = list(world.COLOURS), world.BACKGROUNDS
    rows = []
    for r, style in enumerate((world.PLAIN, *world.STYLES)):
        scenes = [
            world.Scene(name, colours[(i + r) % 8], places[(i + 2 * r) % 6], style)
            for i, name in enumerate(world.OBJECTS)
        ]
        rows.append([world.draw(scene, rng) for scene in scenes])
    return sheet(rows)


def base_sheet() -> Image.Image:
    """Sample the base: the twelve objects, four times each, in changing colours and places."""
    return sheet(flux.grid(flux.sample(flux.load(), flux.base_prompts(), seed=0)))


def pool_sheet() -> Image.Image:
    """Show the renderings of each LoRA, one LoRA a row, sorted by theme."""
    themes = json.loads((HOME / "themes.json").read_text())
    rows = []
    for entry in sorted(themes.values(), key=lambda e: (e["kind"], e["theme"], e["repo"])):
        images = sorted((HOME / "pool" / entry["repo"] / "images").glob("*.png"))
        rows.append([Image.open(path).convert("RGB") for path in images])
    half = (len(rows) + 1) // 2
    return sheet([a + b for a, b in _side_by_side(rows, half)])


def fusion_sheet() -> Image.Image:
    """Show each pair's first picture (columns) by each method (rows), out of the stage `experiments`."""
    folder = HOME.parent / "data" / "experiments"
    report = json.loads((folder / "report.json").read_text())
    pairs = [trial for trial in report["shown"] if trial["outcome"] == "pairs"]
    rows = [[_first(folder / trial["strips"][method]) for trial in pairs] for method in FUSION_METHODS]
    pictures = sheet(rows, scale=2)
    page = Image.new("RGB", (pictures.width + LABEL_PX, pictures.height), (255, 255, 255))
    page.paste(pictures, (LABEL_PX, 0))
    pen, cell = ImageDraw.Draw(page), pictures.height // len(rows)
    for y, method in enumerate(FUSION_METHODS):
        pen.text((LABEL_PX - 10, y * cell + cell // 2), method, (70, 70, 70), anchor="rm", font_size=18)
    return page


def _first(strip: Path) -> Image.Image:
    """Return the first picture of a strip."""
    return Image.open(strip).convert("RGB").crop((0, 0, world.SIZE, world.SIZE))


def _side_by_side(
    rows: list[list[Image.Image]], half: int
) -> list[tuple[list[Image.Image], list[Image.Image]]]:
    blank = Image.new("RGB", (world.SIZE, world.SIZE), (255, 255, 255))
    left = [row + [blank] * (6 - len(row)) for row in rows[:half]]
    right = rows[half:] + [[]] * (2 * half - len(rows))
    return list(zip(left, right, strict=True))


def main() -> None:
    """Draw every sheet whose material exists."""
    SHEETS.mkdir(exist_ok=True)
    world_sheet().save(SHEETS / "world.png")
    if (HOME / "models" / "flux").exists():
        base_sheet().save(SHEETS / "base.png")
    if (HOME / "themes.json").exists():
        pool_sheet().save(SHEETS / "pool.png")
    if (HOME.parent / "data" / "experiments" / "report.json").exists():
        PICTURES.mkdir(exist_ok=True)
        fusion_sheet().save(PICTURES / "fusion.png")


if __name__ == "__main__":
    main()
