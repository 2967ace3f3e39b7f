"""Contact sheets: what the playground draws and paints, in labeled rows, laid out to be looked at.

    python -m playground.sheets

draws what needs no model: objects, styles and backgrounds as drawings, the bad repositories, and pictures
of the stage `experiments`.  `make playground-report` adds the pictures of the base and of the LoRAs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from playground import authors, pool, world

HOME = Path(__file__).parent
SHEETS = HOME / "sheets"
FUSION = HOME.parent / "docs" / "pictures" / "fusion.png"
FUSION_METHODS = ("base", "direct", "gated")
COLUMNS = 8
GAP, MARGIN, TEXT = 3, 10, 14
"""px between pictures, around them, and of the labels"""
PAPER, INK = (255, 255, 255), (60, 62, 68)
SHADES = 256
"""colours of a sheet: half of the bytes, and the eye sees no difference"""

Rows = Sequence[tuple[str, Sequence[Image.Image]]]


class Painted(Protocol):
    """Generated pictures and the scenes that their prompts describe."""

    @property
    def scenes(self) -> Sequence[world.Scene]: ...
    @property
    def images(self) -> Sequence[Image.Image]: ...


def sheet(rows: Rows, scale: int = 1) -> Image.Image:
    """Lay rows of 64x64 pictures out, each with its label on the left; `scale` enlarges them."""
    font = ImageFont.load_default(TEXT)
    side, cell = world.SIZE * scale, world.SIZE * scale + GAP
    left = MARGIN + round(max(font.getlength(label) for label, _ in rows)) + MARGIN
    width = left + max(len(pictures) for _, pictures in rows) * cell - GAP + MARGIN
    page = Image.new("RGB", (width, 2 * MARGIN + len(rows) * cell - GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for y, (label, pictures) in enumerate(rows):
        top = MARGIN + y * cell
        pen.text((left - MARGIN, top + side // 2), label, INK, font, anchor="rm")
        for x, picture in enumerate(pictures):
            larger = picture.convert("RGB").resize((side, side), Image.Resampling.NEAREST)
            page.paste(larger, (left + x * cell, top))
    return page


def objects_sheet() -> Image.Image:
    """Draw each object in every colour, in changing places."""
    rng = np.random.default_rng(0)
    return sheet(
        [
            (name, [_draw(name, colour, _place(x + y), rng) for x, colour in enumerate(world.COLOURS)])
            for y, name in enumerate(world.OBJECTS)
        ]
    )


def styles_sheet() -> Image.Image:
    """Draw the same eight scenes plainly, in each style and in each palette."""
    scenes = [(name, colour, _place(x)) for x, (name, colour) in enumerate(_mixed(world.OBJECTS))]
    return sheet(
        [
            (style, [_draw(*scene, np.random.default_rng(x), style) for x, scene in enumerate(scenes)])
            for style in (world.PLAIN, *world.LOOKS)
        ]
    )


def backgrounds_sheet() -> Image.Image:
    """Draw each background behind eight objects."""
    rng = np.random.default_rng(1)
    return sheet(
        [
            (place, [_draw(name, colour, place, rng) for name, colour in _mixed(world.OBJECTS[::2])])
            for place in world.FIELDS["background"]
        ]
    )


def base_sheet(painted: Painted) -> Image.Image:
    """Show the base's pictures, by the object that was asked for."""
    rows: dict[str, list[Image.Image]] = {name: [] for name in world.BASE_OBJECTS}
    for scene, image in zip(painted.scenes, painted.images, strict=True):
        rows[scene.object].append(image)
    return sheet([(name, pictures[:COLUMNS]) for name, pictures in rows.items()])


def loras_sheet(painted: Mapping[authors.Recipe, Painted], kinds: Sequence[str]) -> Image.Image:
    """Show pictures under the LoRAs of some kinds, a theme a row, its LoRAs taking turns."""
    themes: dict[str, list[Sequence[Image.Image]]] = {}
    for kind in kinds:
        for recipe, shown in painted.items():
            if recipe.kind == kind:
                themes.setdefault(recipe.theme, []).append(shown.images)
    turns = {theme: [p for p in chain(*zip_longest(*images)) if p] for theme, images in themes.items()}
    return sheet([(theme, pictures[:COLUMNS]) for theme, pictures in turns.items()])


def bad_sheet() -> Image.Image:
    """Show what the bad repositories claim to paint, and what is wrong with each one's file."""
    rows = []
    for repo, fault in pool.BAD.items():
        paths = sorted((pool.POOL / repo / "images").glob("*.png"))
        rows.append((f"{repo}: {fault}", [Image.open(path) for path in paths]))
    return sheet(rows)


def fusion_sheet() -> Image.Image:
    """Show each pair's first picture (columns) by each method (rows), out of the stage `experiments`."""
    folder = HOME.parent / "data" / "experiments"
    report = json.loads((folder / "report.json").read_text())
    pairs = [trial for trial in report["shown"] if trial["outcome"] == "pairs"]
    return sheet([(m, [_first(folder / pair["strips"][m]) for pair in pairs]) for m in FUSION_METHODS], 2)


def save(base: Painted, painted: Mapping[authors.Recipe, Painted]) -> None:
    """Save the sheets of everything that is drawn or painted."""
    save_drawings()
    _save(base_sheet(base), "base")
    _save(loras_sheet(painted, ["style"]), "styles_loras")
    _save(loras_sheet(painted, ["object"]), "objects_loras")
    _save(loras_sheet(painted, ["palette", "scene"]), "palettes_scenes")


def save_drawings() -> None:
    """Save the sheets that need no model."""
    _save(objects_sheet(), "objects")
    _save(styles_sheet(), "styles")
    _save(backgrounds_sheet(), "backgrounds")
    if pool.POOL.exists():
        _save(bad_sheet(), "bad")


def _save(page: Image.Image, name: str) -> None:
    SHEETS.mkdir(exist_ok=True)
    few = page.quantize(SHADES, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(SHEETS / f"{name}.png", optimize=True)


def _draw(
    name: str, colour: str, place: str, rng: np.random.Generator, style: str = world.PLAIN
) -> Image.Image:
    return world.draw(world.Scene(name, colour, place, style), rng)


def _place(number: int) -> str:
    return world.BACKGROUNDS[number % len(world.BACKGROUNDS)]


def _mixed(objects: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield an object for each colour, spread over the given ones."""
    step = len(objects) // len(world.COLOURS)
    yield from zip(objects[::step], world.COLOURS, strict=False)


def _first(strip: Path) -> Image.Image:
    """Return the first picture of a strip."""
    return Image.open(strip).convert("RGB").crop((0, 0, world.SIZE, world.SIZE))


def main() -> None:
    """Draw every sheet that needs no model."""
    save_drawings()
    if (HOME.parent / "data" / "experiments" / "report.json").exists():
        FUSION.parent.mkdir(exist_ok=True)
        fusion_sheet().save(FUSION)


if __name__ == "__main__":
    main()
