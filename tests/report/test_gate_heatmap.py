"""The heat map of mean gates, alone and on the page."""

import base64
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autolora.experiments import store as experiments
from autolora.fusion.gate_means import GLOBAL, GateMeans
from autolora.report.gate_heatmap import CELL_PX, CLOSED, OPEN, draw_gates, gate_heatmaps
from autolora.report.page import assemble
from autolora.report.references import References
from tests.report.parsed_page import read_page

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


def test_a_case_with_gates_has_their_heatmaps(tmp_path: Path) -> None:
    case: dict[str, Any] = {
        "scenario": "pair", "prompt": "a cat", "adapters": [A], "relevance": [0.5], "grids": {},
    }  # fmt: skip
    references = References(tmp_path, [], {})
    (without,) = references.cases({"cases": [case]})["pair"]
    assert without["gates"] == []
    means = make_means((A,), steps=2).to_json()
    (shown,) = references.cases({"cases": [case | {"gate_means": means}]})["pair"]
    assert [heatmap.name for heatmap in shown["gates"]] == [A[:12]]


def test_the_page_shows_the_heatmaps(full: Path, tmp_path: Path) -> None:
    assert "mean gates of" not in read_page(full)
    root = tmp_path / "root"
    shutil.copytree(full, root)
    path = experiments.report_path(root)
    report = json.loads(path.read_text())
    first = report["cases"][0]
    first["gate_means"] = make_means((*first["adapters"], GLOBAL)).to_json()
    path.write_text(json.dumps(report))
    assemble(root)
    page = read_page(root)
    assert (
        page.count('alt="mean gates of ') == 3 and 'alt="mean gates of global LoRA by block and step"' in page
    )
    assert page.count("on average; double blocks") == 3
