"""Files of studies as `python -m bench.paper` and `python -m bench.gates` write them, with known numbers."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.report_root import HOSTILE


def entry(value: float, difference: float | None = None, than: str = "direct") -> dict[str, Any]:
    """Return a score with an interval of 0.1 to both sides, and maybe its difference to another row."""
    score: dict[str, Any] = {"value": value, "low": value - 0.1, "high": value + 0.1, "runs": [value]}
    if difference is not None:
        bounds = {"value": difference, "low": difference - 0.1, "high": difference + 0.1}
        score |= {"compared with": than, "difference": bounds}
    return score


def table(title: str, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a table. rows: row -> entry of the score `all shown`."""
    scores = {name: {"all shown": row, "VQAScore": row} for name, row in rows.items()}
    return {"title": title, "date": "2026-01-02", "cases": 7, "images per row": 70, "rows": scores}


def pairs() -> dict[str, Any]:
    """Return a table of three rows and the base, all compared with `direct`."""
    return table(
        "Table 3, random pairs",
        {
            "base": entry(0.1, -0.5), "direct": entry(0.6), f"gated {HOSTILE}": entry(0.65, 0.05),
            "velocity": entry(0.8, 0.2),
        },
    )  # fmt: skip


def loaded() -> dict[str, Any]:
    """Return a table of two ways with 1, 2 and 8 loaded adapters, each compared with as many."""
    rows = {}
    for number in (1, 2, 8):
        rows[f"direct, {number} loaded"] = entry(1 / number)
        rows[f"direct, selected, {number} loaded"] = entry(0.8, 0.8 - 1 / number, f"direct, {number} loaded")
    return table("One adapter with others", rows)


def write_studies(root: Path) -> None:
    """Write both files of metrics/ and a Figure 2."""
    (root / "metrics").mkdir(exist_ok=True)
    paper = {"playground": {"3": pairs(), "single": loaded()}, "large": {"3": pairs()}}
    gates = {"playground": {"right": pairs() | {"title": "Right relevance"}, "losses": {"gates": {}}}}
    (root / "metrics" / "paper_bench.json").write_text(json.dumps(paper))
    (root / "metrics" / "gates_bench.json").write_text(json.dumps(gates))
    (root / "docs" / "images").mkdir(parents=True)
    Image.new("RGB", (300, 200), "gray").save(root / "docs" / "images" / "paper-playground-figure-2.png")
