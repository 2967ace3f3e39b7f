"""The heat maps of the mean gates of an image: per adapter, a cell per block (rows) and step (columns)."""

import io
from collections.abc import Callable

import matplotlib
import numpy as np
from PIL import Image

from autolora.fusion.gate_means import GLOBAL, GateMeans
from autolora.report.images import PageImage, data_url
from autolora.storage.arrays import Float32Array

CELL_PX = 6
COLORMAP = "magma"
"""dark: nothing passes (0); light: all of an update passes (1)"""


def gate_heatmaps(means: GateMeans, name: Callable[[str], str]) -> list[tuple[str, PageImage]]:
    """Return the name and the heat map of each adapter. name: returns the name of a sha256."""
    heatmaps = []
    for adapter, values in zip(means.adapters, means.values, strict=True):
        label = "global LoRA" if adapter == GLOBAL else name(adapter)
        height, width = (CELL_PX * size for size in values.shape)
        url = data_url(draw_gates(values), "png")
        heatmaps.append((label, PageImage(-1, url, True, width, height)))
    return heatmaps


def draw_gates(values: Float32Array) -> bytes:
    """Return a PNG of mean gates (blocks, columns), one square per cell; a cell without a gate is transparent."""
    colors = matplotlib.colormaps[COLORMAP](np.nan_to_num(values), bytes=True)
    colors[np.isnan(values), 3] = 0
    cells = colors.repeat(CELL_PX, axis=0).repeat(CELL_PX, axis=1)
    stream = io.BytesIO()
    Image.fromarray(cells).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
