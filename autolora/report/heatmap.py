"""The similarity heat map of the page: cosines as an image of one pixel per cell, and group labels on its axes."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import matplotlib
import numpy as np
from PIL import Image

from autolora.report.groups import Group
from autolora.report.images import data_url
from autolora.report.similarity import AdapterVectors
from autolora.storage.arrays import Float64Array, UInt8Array

MAX_ADAPTERS = 600
"""on a map; of a larger pool, evenly spaced ones are shown"""
SIDE = 1000.0
"""of the SVG, in its own units"""
MARGIN = 190.0
LARGEST_TEXT, SMALLEST_TEXT = 17.0, 9.0
MAX_LABEL_CHARACTERS = 18
COLORMAP = "magma"
MAX_LEVEL = 255
"""a cell is one of the levels 0 to 255 between the lowest and the highest cosine"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """A group on the axes, in the units of the SVG."""

    name: str
    label: str
    """the name, shortened; empty if there is no room for it"""
    start: float
    middle: float
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """The cosines of one source on the map."""

    name: str
    url: str
    low: float
    high: float
    cells: str
    """the levels of the upper triangle, row by row, base64"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heatmap:
    """A heat map with one or more layers over the same adapters."""

    adapters: tuple[str, ...]
    """sha256 (N,)"""
    pool: int
    """number of adapters that could be shown"""
    layers: tuple[Layer, ...]
    bands: tuple[Band, ...]
    kinds: tuple[Band, ...]
    text: float
    """font size of the labels"""
    ramp: str
    """the colors from the lowest to the highest cosine, as the data URL of an image"""

    @property
    def cell(self) -> float:
        """Return the side of one cell, in the units of the SVG."""
        return (SIDE - MARGIN) / len(self.adapters)


def build_heatmap(groups: Sequence[Group], sources: Mapping[str, AdapterVectors]) -> Heatmap | None:
    """Return the map of the adapters that every source contains, in the order of the groups; None for fewer than 2."""
    known = set.intersection(*({*source.adapters} for source in sources.values())) if sources else set()
    group_of: dict[str, Group] = {}
    for group in groups:
        for card in group.cards:
            if card.sha256 in known:
                group_of.setdefault(card.sha256, group)
    adapters = _evenly_spaced(list(group_of))
    if len(adapters) < 2:
        return None
    positions = {id(group): position for position, group in enumerate(groups)}
    names = [(positions[id(group_of[sha256])], group_of[sha256].name) for sha256 in adapters]
    kinds = [group_of[sha256].kind or "" for sha256 in adapters]
    cell = (SIDE - MARGIN) / len(adapters)
    text = min(LARGEST_TEXT, max(SMALLEST_TEXT, cell * len(adapters) / len(set(names)) * 0.85))
    return Heatmap(
        adapters=tuple(adapters),
        pool=len(group_of),
        layers=tuple(_layer(name, source.select(adapters).cosines()) for name, source in sources.items()),
        bands=_bands(names, cell, text),
        kinds=_bands([(0, kind) for kind in kinds], cell, text) if any(kinds) else (),
        text=text,
        ramp=data_url(cells_to_png(np.arange(MAX_LEVEL + 1, dtype=np.uint8)[None]), "png"),
    )


def color_range(cosines: Float64Array) -> tuple[float, float]:
    """Return the lowest and the highest value of a matrix (N, N) outside its diagonal; 0 and 1 for one adapter.

    The diagonal is 1 by definition and would leave few colors for the rest.
    """
    others = cosines[~np.eye(len(cosines), dtype=bool)]
    return (float(others.min()), float(others.max())) if len(others) else (0.0, 1.0)


def to_levels(cosines: Float64Array) -> UInt8Array:
    """Return a matrix (N, N) in integer levels, 0 at the lowest and 255 at the highest value of `color_range`."""
    low, high = color_range(cosines)
    share = (cosines - low) / ((high - low) or 1.0)
    levels: UInt8Array = np.rint(np.clip(share, 0.0, 1.0) * MAX_LEVEL).astype(np.uint8)
    return levels


def cells_to_png(levels: UInt8Array) -> bytes:
    """Return a PNG of one pixel per level (rows, columns), in the colors of COLORMAP."""
    colors = matplotlib.colormaps[COLORMAP](np.arange(MAX_LEVEL + 1), bytes=True)[:, :3]
    stream = io.BytesIO()
    image = Image.fromarray(levels)
    image.putpalette(colors.flatten().tolist())
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _layer(name: str, cosines: Float64Array) -> Layer:
    low, high = color_range(cosines)
    levels = to_levels(cosines)
    upper = levels[np.triu_indices(len(levels), 1)]
    return Layer(
        name=name,
        url=data_url(cells_to_png(levels), "png"),
        low=low,
        high=high,
        cells=base64.b64encode(upper.tobytes()).decode(),
    )


def _bands(keys: Sequence[tuple[int, str]], cell: float, text: float) -> tuple[Band, ...]:
    """Return a band per run of equal keys (position of the group, name), in the order of the adapters."""
    bands, start, last_label = [], 0, -SIDE
    for (_, name), members in groupby(keys):
        count = len(list(members))
        middle = (start + count / 2) * cell
        fits = middle - last_label >= text * 0.95
        last_label = middle if fits else last_label
        short = name if len(name) <= MAX_LABEL_CHARACTERS else f"{name[: MAX_LABEL_CHARACTERS - 1]}…"
        label = short if fits else ""
        bands.append(Band(name=name, label=label, start=start * cell, middle=middle, count=count))
        start += count
    return tuple(bands)


def _evenly_spaced(adapters: list[str]) -> list[str]:
    if len(adapters) <= MAX_ADAPTERS:
        return adapters
    positions = np.linspace(0, len(adapters) - 1, MAX_ADAPTERS).round().astype(int)
    return [adapters[position] for position in positions]
