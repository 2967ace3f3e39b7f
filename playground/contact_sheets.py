"""Contact sheets: drawings and generated images in labeled rows.

    python -m playground.contact_sheets

writes the sheets that need no model: objects, styles and backgrounds as drawings, and the bad repositories.
`make playground-report` also writes those with images by the base and with the LoRAs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from playground import authors, pool, world
from playground.backgrounds import SIZES
from playground.bases import CACHE

HOME = Path(__file__).parent
SHEETS = HOME / "sheets"
COLUMNS = 8
GAP, MARGIN, TEXT = 3, 10, 14
"""pixels between images, around all images, and of the labels' font"""
PAPER, INK = (255, 255, 255), (60, 62, 68)
SHADES = 256
"""colours of a sheet: quantization halves the file without a visible difference"""

Rows = Sequence[tuple[str, Sequence[Image.Image]]]


class GeneratedImages(Protocol):
    """Generated images, and the scenes that their prompts describe."""

    @property
    def scenes(self) -> Sequence[world.Scene]: ...
    @property
    def images(self) -> Sequence[Image.Image]: ...


def sheet(rows: Rows, scale: int = 1) -> Image.Image:
    """Return a page with rows of square images, each with its label on the left; `scale` enlarges the images.

    Smaller images are enlarged to the size of the largest.
    """
    font = ImageFont.load_default(TEXT)
    side = scale * max((image.width for _, images in rows for image in images), default=world.SIZE)
    cell = side + GAP
    left = MARGIN + round(max(font.getlength(label) for label, _ in rows)) + MARGIN
    width = left + max(len(images) for _, images in rows) * cell - GAP + MARGIN
    page = Image.new("RGB", (width, 2 * MARGIN + len(rows) * cell - GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for y, (label, images) in enumerate(rows):
        top = MARGIN + y * cell
        pen.text((left - MARGIN, top + side // 2), label, INK, font, anchor="rm")
        for x, image in enumerate(images):
            enlarged = image.convert("RGB").resize((side, side), Image.Resampling.NEAREST)
            page.paste(enlarged, (left + x * cell, top))
    return page


def objects_sheet() -> Image.Image:
    """Return a sheet with each object in every colour, on varying backgrounds."""
    rng = np.random.default_rng(0)
    return sheet(
        [
            (name, [_draw(name, colour, _background(x + y), rng) for x, colour in enumerate(world.COLOURS)])
            for y, name in enumerate(world.OBJECTS)
        ]
    )


def styles_sheet() -> Image.Image:
    """Return a sheet with the same eight scenes in plain, in each style and in each palette."""
    scenes = [
        (name, colour, _background(x)) for x, (name, colour) in enumerate(_objects_by_colour(world.OBJECTS))
    ]
    return sheet(
        [
            (style, [_draw(*scene, np.random.default_rng(x), style) for x, scene in enumerate(scenes)])
            for style in (world.PLAIN, *world.ALL_STYLES)
        ]
    )


def backgrounds_sheet() -> Image.Image:
    """Return a sheet with each background behind eight objects."""
    rng = np.random.default_rng(1)
    objects = world.OBJECTS[::2]
    return sheet(
        [
            (
                background,
                [_draw(name, colour, background, rng) for name, colour in _objects_by_colour(objects)],
            )
            for background in world.FIELDS["background"]
        ]
    )


def sizes_sheet() -> Image.Image:
    """Return a sheet with four scenes in each style, each drawn in both sizes; the smaller drawing is enlarged."""
    scenes = [
        (name, colour, _background(x))
        for x, (name, colour) in enumerate([*_objects_by_colour(world.OBJECTS)][::2])
    ]
    return sheet(
        [
            (
                style,
                [
                    world.draw(world.Scene(*scene, style), np.random.default_rng(x), size)
                    for x, scene in enumerate(scenes)
                    for size in SIZES
                ],
            )
            for style in (world.PLAIN, *world.ALL_STYLES)
        ]
    )


def base_sheet(generated: GeneratedImages) -> Image.Image:
    """Return a sheet of the base's images, one row per object that the prompt names."""
    rows: dict[str, list[Image.Image]] = {name: [] for name in world.BASE_OBJECTS}
    for scene, image in zip(generated.scenes, generated.images, strict=True):
        rows[scene.object].append(image)
    return sheet([(name, images[:COLUMNS]) for name, images in rows.items()])


def loras_sheet(generated: Mapping[authors.Recipe, GeneratedImages], kinds: Sequence[str]) -> Image.Image:
    """Return a sheet of images with the LoRAs of some kinds: one row per theme, alternating between its LoRAs."""
    themes: dict[str, list[Sequence[Image.Image]]] = {}
    for kind in kinds:
        for recipe, images in generated.items():
            if recipe.kind == kind:
                themes.setdefault(recipe.theme, []).append(images.images)
    rows = {
        theme: [image for image in chain(*zip_longest(*by_lora)) if image]
        for theme, by_lora in themes.items()
    }
    return sheet([(theme, images[:COLUMNS]) for theme, images in rows.items()])


def bad_sheet() -> Image.Image:
    """Return a sheet of the bad repositories' images, labeled with the fault of each repository's file."""
    rows = []
    for repo, fault in pool.BAD.items():
        paths = sorted((pool.POOL / repo / "images").glob("*.png"))
        rows.append((f"{repo}: {fault}", [Image.open(path) for path in paths]))
    return sheet(rows)


def save(base: GeneratedImages, by_lora: Mapping[authors.Recipe, GeneratedImages]) -> None:
    """Save all sheets of drawings and of generated images."""
    save_drawings()
    _save(base_sheet(base), "base")
    _save(loras_sheet(by_lora, ["style"]), "styles_loras")
    _save(loras_sheet(by_lora, ["object"]), "objects_loras")
    _save(loras_sheet(by_lora, ["palette", "scene"]), "palettes_scenes")


def save_drawings() -> None:
    """Save the sheets that need no model."""
    _save(objects_sheet(), "objects")
    _save(styles_sheet(), "styles")
    _save(backgrounds_sheet(), "backgrounds")
    if all((pool.POOL / repo).exists() for repo in pool.BAD):
        _save(bad_sheet(), "bad")


def _save(page: Image.Image, name: str) -> None:
    _write(page, SHEETS / f"{name}.png")


def _write(page: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    quantized = page.quantize(SHADES, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
    quantized.save(path, optimize=True)


def _draw(
    name: str, colour: str, background: str, rng: np.random.Generator, style: str = world.PLAIN
) -> Image.Image:
    return world.draw(world.Scene(name, colour, background, style), rng)


def _background(number: int) -> str:
    return world.BACKGROUNDS[number % len(world.BACKGROUNDS)]


def _objects_by_colour(objects: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield one object for each colour, evenly spread over the given objects."""
    step = len(objects) // len(world.COLOURS)
    yield from zip(objects[::step], world.COLOURS, strict=False)


def main() -> None:
    """Save every sheet that needs no model, and that of both sizes, which is not committed."""
    save_drawings()
    _write(sizes_sheet(), CACHE / "sizes.png")


if __name__ == "__main__":
    main()
