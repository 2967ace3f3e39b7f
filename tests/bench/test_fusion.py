"""`python -m bench.fusion`: the published gate it compares with, what it measures, and its tables."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from autolora.fusion.gate import Gate
from bench.fused_linears import FULL, Case, compare, make_runs, peak_megabytes, published_gate
from bench.fusion import COUNTS, headlines, row_of, to_markdown

REFERENCE = Path(__file__).parents[1] / "parity" / "fusion_small.safetensors"
CASE = Case(d_in=24, d_out=40, tokens=6, adapters=3, dtype=torch.float32, rank=4)


def test_the_published_gate_equals_the_released_code() -> None:
    tensors = load_file(REFERENCE)
    gate = Gate(len(tensors["g.bias"]), FULL)
    gate.load_state_dict({name: tensors[f"g.{name}"] for name in gate.state_dict()})
    checked = 0
    for key, expected in tensors.items():
        form, _, rest = key.partition(".k")
        if form == "full" and key.endswith(".out"):
            count, inputs, _ = rest.split(".")
            x = tensors[inputs]
            base = F.linear(x, tensors["W"], tensors.get("b"))
            updates = [F.linear(F.linear(x, tensors[f"A{i}"]), tensors[f"B{i}"]) for i in range(int(count))]
            output = published_gate(gate, base, torch.stack(updates))
            torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)
            checked += 1
    assert checked > 1


@torch.no_grad()
def test_all_methods_act_on_the_same_adapters() -> None:
    linear, runs = make_runs(CASE)
    outputs = {name: run() for name, run in runs.items()}
    assert torch.equal(outputs["direct"], outputs["peft"])
    torch.testing.assert_close(outputs["gated"], outputs["published"], atol=1e-5, rtol=1e-5)
    assert (outputs["gated"] - linear()).abs().max() > 0.01


@torch.no_grad()
def test_ratios_include_the_linear() -> None:
    ratios = compare(CASE, linear_s=1e6, rounds=2, with_published=True)
    assert [ratios.direct, ratios.gated, ratios.published] == pytest.approx([1.0, 1.0, 1.0])
    alone = compare(CASE, linear_s=0.0, rounds=2, with_published=False)
    assert alone.published is None and alone.gated > 0


@pytest.mark.slow
def test_peak_memory_is_that_of_the_call() -> None:
    def allocate() -> torch.Tensor:
        return torch.ones(25_000_000).sum()

    assert 90 < peak_megabytes(allocate) < 150


def results() -> dict[str, Any]:
    rows = [
        row_of(compare(Case(24, 40, 6, k, torch.float32, 4), 1.0, 1, with_published=k == 3)) for k in COUNTS
    ]
    rows += [row | {"dtype": "bfloat16", "gated": 1.3} for row in rows]
    used = {"tokens": 6, "peft": 600.0, "direct": 400.0, "gated": 300.0, "published": 3000.0}
    return {
        "processor": "P", "torch": "T", "date": "D", "rounds": 1, "linears": rows,
        "megabytes": {"float32": used, "bfloat16": used},
        "compilation": [{"adapters": 1, "compiled": 2, "seconds": 9.0}],
        "global_lora_s": {"3": {"new": 0.9, "kept": 0.001}},
        "image": {"peft_s": 0.2, "base": 0.5, "direct": 0.8, "gated": 1.1, "differing_pixels": 0},
    }  # fmt: skip


@torch.no_grad()
def test_tables_and_rows_of_the_summary() -> None:
    table = to_markdown(results())
    assert "| 24 → 40 | 6 | bfloat16 | 3 | 1.00 | 1.30 | 1.00 |" in table
    assert "| 3 | 0.90 | 0.001 |" in table and "direct 0.80, gated 1.10" in table
    rows = {row.name: row for row in headlines(results())}
    assert (
        rows["fusion.gated_ratio_bfloat16"].value == 1.3 and rows["fusion.gated_ratio_bfloat16"].goal == 1.35
    )
    assert rows["fusion.gated_memory_ratio_float32"].value == 0.5
    assert rows["fusion.gated_image_ratio"].value == 1.1
