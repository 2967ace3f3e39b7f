"""The heat map of mean gates."""

import base64
import io

import numpy as np
from PIL import Image

from autolora.fusion.gate_means import GLOBAL, GateMeans
from autolora.web.gate_heatmap import CELL_PX, CLOSED, OPEN, draw_gates, gate_heatmaps

A, B = "a" * 64, "b" * 64


def make_means(
    adapters: tuple[str, ...], double_blocks: int = 19, single: int = 38, steps: int = 30
) -> GateMeans:
    values = np.random.default_rng(0).random((len(adapters), double_blocks + single, steps), np.float32)
    return GateMeans(adapters=adapters, double_blocks=double_blocks, steps=steps, values=values)


def test_a_cell_is_light_if_much_passes_and_transparent_without_a_gate() -> None:
    values = np.array([[0.0, 1.0], [0.5, np.nan]], np.float32)
    with Image.open(io.BytesIO(draw_gates(values))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2 * CELL_PX, 2 * CELL_PX, 4)
    cells = pixels[CELL_PX // 2 :: CELL_PX, CELL_PX // 2 :: CELL_PX].astype(int)
    brightness = cells[..., :3].sum(-1)
    assert brightness[0, 0] < brightness[1, 0] < brightness[0, 1]
    assert (cells[..., 3] == [[255, 255], [255, 0]]).all()
    colors = [
        f"#{''.join(f'{value:02x}' for value in cells[row, column, :3])}" for row, column in ((0, 0), (0, 1))
    ]
    assert colors == [CLOSED, OPEN]


def test_each_adapter_has_a_heatmap_of_a_few_kb() -> None:
    heatmaps = gate_heatmaps(make_means((A, B, GLOBAL)), {A: "someone/1", B: "someone/2"}.__getitem__)
    assert [heatmap.name for heatmap in heatmaps] == ["someone/1", "someone/2", "global LoRA"]
    for heatmap in heatmaps:
        assert " on average; double blocks 0." in heatmap.text
        assert (heatmap.width, heatmap.height) == (30 * CELL_PX, 57 * CELL_PX)
        assert len(base64.b64decode(heatmap.url.partition(",")[2])) < 15_000
