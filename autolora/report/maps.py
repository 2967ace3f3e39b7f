"""The similarity heat map of the page: cells as a picture, themes along its axes, numbers to point at."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from autolora.report.groups import Group
from autolora.report.heatmap import color_range, colors, levels, paint_cells
from autolora.report.images import data_url
from autolora.report.likeness import Likeness

LARGEST = 600
"""adapters on a map at most, evenly spread over a larger pool"""
SIDE = 1000.0
"""of the drawing, in its own units"""
MARGIN = 190.0
LARGEST_TEXT, SMALLEST_TEXT = 17.0, 9.0
LONGEST = 18
"""characters of a label"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A group along the axes, in the drawing's units."""

    name: str
    label: str
    """the name, shortened; empty where there is no room for it"""
    start: float
    middle: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One source of cosines on the map."""

    name: str
    url: str
    low: float
    high: float
    cells: str
    """the upper triangle in whole steps from low to high, row by row, base64"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """A heat map with one or more layers over the same adapters."""

    adapters: tuple[str, ...]
    """sha256 (N,)"""
    pool: int
    """adapters that could be on it"""
    layers: tuple[Layer, ...]
    bands: tuple[Band, ...]
    kinds: tuple[Band, ...]
    text: float
    """size of the labels"""
    ramp: str
    """the colors from low to high, as a picture"""

    @property
    def cell(self) -> float:
        """The side of one cell."""
        return (SIDE - MARGIN) / len(self.adapters)


def draw_map(groups: Sequence[Group], sources: Mapping[str, Likeness]) -> Map | None:
    """Return the map of the adapters that all sources know, in the order of the groups; None for less than two."""
    known = set.intersection(*({*source.adapters} for source in sources.values())) if sources else set()
    placed: dict[str, Group] = {}
    for group in groups:
        for card in group.cards:
            if card.sha256 in known:
                placed.setdefault(card.sha256, group)
    shown = _spread(list(placed))
    if len(shown) < 2:
        return None
    places = {id(group): place for place, group in enumerate(groups)}
    names = [(places[id(placed[sha256])], placed[sha256].name) for sha256 in shown]
    kinds = [placed[sha256].kind or "" for sha256 in shown]
    cell = (SIDE - MARGIN) / len(shown)
    text = min(LARGEST_TEXT, max(SMALLEST_TEXT, cell * len(shown) / len(set(names)) * 0.85))
    return Map(
        adapters=tuple(shown),
        pool=len(placed),
        layers=tuple(_layer(name, source.among(shown).cosines()) for name, source in sources.items()),
        bands=_bands(names, cell, text),
        kinds=_bands([(0, kind) for kind in kinds], cell, text) if any(kinds) else (),
        text=text,
        ramp=data_url(_ramp(), "png"),
    )


def _layer(name: str, cosines: NDArray[np.float64]) -> Layer:
    low, high = color_range(cosines)
    cells = levels(cosines)
    upper = cells[np.triu_indices(len(cells), 1)]
    return Layer(
        name=name,
        url=data_url(paint_cells(cells), "png"),
        low=low,
        high=high,
        cells=base64.b64encode(upper.tobytes()).decode(),
    )


def _bands(keys: Sequence[tuple[int, str]], cell: float, text: float) -> tuple[Band, ...]:
    bands, at, last = [], 0, -SIDE
    for (_, name), members in groupby(keys):
        count = len(list(members))
        middle = (at + count / 2) * cell
        fits = middle - last >= text * 0.95
        last = middle if fits else last
        label = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        bands.append(
            Band(name=name, label=label if fits else "", start=at * cell, middle=middle, count=count)
        )
        at += count
    return tuple(bands)


def _spread(adapters: list[str]) -> list[str]:
    if len(adapters) <= LARGEST:
        return adapters
    places = np.linspace(0, len(adapters) - 1, LARGEST).round().astype(int)
    return [adapters[place] for place in places]


def _ramp() -> bytes:
    return paint_cells(np.arange(len(colors()), dtype=np.uint8)[None])
