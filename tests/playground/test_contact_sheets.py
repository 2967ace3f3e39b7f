"""The playground's contact sheets: labels, and which images they contain."""

import pytest
from PIL import Image

from playground import authors, contact_sheets, measurements, world
from playground.contact_sheets import COLUMNS, GAP, MARGIN, PAPER


def test_sheet_has_labels_and_every_image() -> None:
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    page = contact_sheets.sheet([("a long label", [red, blue]), ("b", [blue])])
    assert page.height == 2 * MARGIN + 2 * 64 + GAP
    right = page.width - MARGIN - 1
    assert page.getpixel((right, MARGIN)) == (0, 0, 255)
    assert page.getpixel((right, page.height - MARGIN - 1)) == PAPER
    assert page.getpixel((right - 64 - GAP, page.height - MARGIN - 1)) == (0, 0, 255)
    labels = page.crop((0, 0, page.width - 2 * 64 - GAP - MARGIN, page.height))
    assert min(labels.convert("L").tobytes()) < 128


def test_sheet_of_loras_alternates_between_the_loras_of_a_theme() -> None:
    recipes = [recipe for recipe in authors.recipes() if recipe.kind == "scene"]
    images = {
        recipe: measurements.GeneratedImages([], [Image.new("RGB", (64, 64), (20 * index, 0, 0))] * 8)
        for index, recipe in enumerate(recipes)
    }
    page = contact_sheets.loras_sheet(images, ["scene"])
    themes = list(dict.fromkeys(recipe.theme for recipe in recipes))
    assert page.height == 2 * MARGIN + len(themes) * (64 + GAP) - GAP
    expected = [(20 * index, 0, 0) for index, recipe in enumerate(recipes) if recipe.theme == themes[0]]
    left = page.width - MARGIN - COLUMNS * (64 + GAP) + GAP
    pixels = [page.getpixel((left + x * (64 + GAP) + 5, MARGIN + 5)) for x in range(len(expected))]
    assert pixels == expected


@pytest.mark.slow
def test_sheet_of_sizes_has_each_drawing_enlarged_and_in_the_larger_size() -> None:
    page = contact_sheets.sizes_sheet()
    assert page.height == 2 * MARGIN + (len(world.ALL_STYLES) + 1) * (128 + GAP) - GAP
    left = page.width - MARGIN - 8 * (128 + GAP) + GAP
    first, second = (
        page.crop((left + x * (128 + GAP), MARGIN, left + x * (128 + GAP) + 128, MARGIN + 128))
        for x in (0, 1)
    )
    blocks = first.reduce(2).resize((128, 128), Image.Resampling.NEAREST)
    assert first.tobytes() == blocks.tobytes() != second.tobytes()
    assert second.reduce(2).resize((128, 128), Image.Resampling.NEAREST).tobytes() != second.tobytes()
