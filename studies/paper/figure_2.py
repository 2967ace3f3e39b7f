"""Figure 2 of the paper: what retrieved adapters add to an image, and pairs by several methods."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from studies.paper.cases import Case, draw_part, object_style_cases, random_sets
from studies.paper.experiments import Size
from studies.paper.images import ImageCache
from studies.paper.prompts import synthetic_prompts
from studies.paper.rows import BASE, DIRECT, Retrieved, Way, gated_way
from studies.paper.world import World

INK = "#333a45"
COLUMNS = 6
"""largest number of prompts of each half"""
MAX_TITLE = 48
"""characters of a prompt above its column"""
PANEL_INCHES = 1.6
SEARCHED: tuple[Way | Retrieved, ...] = (
    Way(name=BASE, acts=False),
    *(Retrieved(name=f"top {k}", method="gated", gates="paper", k=k) for k in (1, 2, 3)),
    Retrieved(name="as shipped", k=None),
)
FUSED: tuple[Way | Retrieved, ...] = (
    Way(name=BASE, acts=False),
    Way(name=DIRECT),
    gated_way("paper"),
    gated_way("best"),
    Way(name="klora", method="klora"),
    Way(name="dare", method="dare"),
)


def draw_figure_2(world: World, images: ImageCache, size: Size) -> bytes:
    """Return images of prompts with the adapters that a search finds, and of pairs by several methods, as PNG.

    Prompts, pairs and seeds are the first of the tables', not chosen by their images.
    """
    run = size.runs[0]
    prompts = synthetic_prompts(world, size.prompts, run)
    pairs = object_style_cases(world, run, 1, limits=(size.objects, size.styles))
    pairs = draw_part(pairs, COLUMNS, run) or random_sets(world, 2, COLUMNS, run, 1)
    halves = ((draw_part(prompts, COLUMNS, run), SEARCHED), (pairs, FUSED))
    columns, rows = max(len(cases) for cases, _ in halves), sum(len(ways) for _, ways in halves)
    figure = Figure(
        figsize=(PANEL_INCHES * (columns + 0.6), PANEL_INCHES * (rows + 0.8)), dpi=110, facecolor="white"
    )
    parts: Any = figure.subfigures(2, 1, height_ratios=[len(ways) for _, ways in halves])
    for part, (cases, ways) in zip(parts, halves, strict=True):
        panels = part.subplots(len(ways), columns, squeeze=False)
        part.subplots_adjust(left=0.11, right=0.99, bottom=0.02, top=0.94, wspace=0.05, hspace=0.05)
        _fill(panels, world, images, cases, ways)
    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    with Image.open(drawn) as image:  # a palette of 256 colors: a third as large without a visible difference
        image.convert("RGB").quantize(256).save(reduced, format="PNG", optimize=True)
    return reduced.getvalue()


def _fill(
    panels: Any, world: World, images: ImageCache, cases: Sequence[Case], ways: Sequence[Way | Retrieved]
) -> None:
    """Show a row of images per way; panels: axes (ways, columns)."""
    for axes in panels.flat:
        axes.axis("off")
    for line, way in zip(panels, ways, strict=True):
        for axes, case in zip(line, cases, strict=False):
            axes.imshow(images.images(way.recipe(world, case), case.seeds[:1])[0], interpolation="nearest")
        line[0].text(-0.05, 0.5, way.name, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    for axes, case in zip(panels[0], cases, strict=False):
        axes.set_title(_title(case.content), fontsize=5.5, color=INK)


def _title(prompt: str) -> str:
    """Return a prompt in two lines, cut if it is long."""
    shown = prompt if len(prompt) <= MAX_TITLE else f"{prompt[:MAX_TITLE]}…"
    middle = shown.rfind(" ", 0, len(shown) // 2 + 6)
    return shown if middle < 0 else f"{shown[:middle]}\n{shown[middle + 1 :]}"
