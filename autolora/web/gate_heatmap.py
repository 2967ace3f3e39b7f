"""The heat maps of the mean gates of an image: per adapter, a cell per block (rows) and step (columns)."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from autolora.fusion.gate_means import GLOBAL, GateMeans, describe
from autolora.report.images import data_url
from autolora.storage.arrays import Float32Array

CELL_PX = 6
CLOSED, HALF, OPEN = "#000004", "#b63679", "#fcfdbf"
"""colors of the mean gates 0 (nothing passes), .5 and 1 (all of an update passes): those of matplotlib's magma"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateHeatmap:
    """The mean gates of one adapter, drawn and in words."""

    name: str
    text: str
    """how much passed on average, in which blocks and steps"""
    url: str
    """of the PNG, as data URL"""
    width: int
    height: int
    """px"""


def gate_heatmaps(means: GateMeans, name: Callable[[str], str]) -> list[GateHeatmap]:
    """Return the heat map of each adapter. name: returns the name of a sha256."""
    labels = {adapter: "global LoRA" if adapter == GLOBAL else name(adapter) for adapter in means.adapters}
    texts = describe(means, labels)
    heatmaps = []
    for adapter, values, text in zip(means.adapters, means.values, texts, strict=True):
        height, width = (CELL_PX * size for size in values.shape)
        heatmaps.append(
            GateHeatmap(
                name=labels[adapter],
                text=text.removeprefix(f"{labels[adapter]}: "),
                url=data_url(draw_gates(values), "png"),
                width=width,
                height=height,
            )
        )
    return heatmaps


def draw_gates(values: Float32Array) -> bytes:
    """Return a PNG of mean gates (blocks, columns), one square per cell; a cell without a gate is transparent."""
    cells = values.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    levels = Image.fromarray(np.rint(255 * np.nan_to_num(cells)).astype(np.uint8))
    image = ImageOps.colorize(levels, CLOSED, OPEN, HALF)
    image.putalpha(Image.fromarray(np.where(np.isnan(cells), 0, 255).astype(np.uint8)))
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
