"""Export: what the reader returns, written in each of the three layouts, is read back as the same update."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora.errors import MismatchError
from autolora.lora.export import DTYPES, LAYOUTS, join, lay_out
from autolora.lora.factors import Factors, Lora, delta, squared_norm
from autolora.lora.read import read
from autolora.lora.scales import METADATA_KEY
from autolora.lora.slots import fused_slots
from tests.lora.known_updates import BASES, TOLERANCE, assert_close, difference, draw, unscaled
from tests.lora.layout_cases import CASES
from tests.lora.test_diffusers import load
from tests.lora.writing import BOUNDS, FUSED, SLOTS, WIDE, draw_fused, draw_lora, write
from tests.lora.writing import lay_out as write_as_tool

READ_AS = {"diffusers": "peft", "kohya": "kohya", "bfl": "bfl-peft"}
WIDE_BOUNDS = replace(BOUNDS, max_rank=256)
STRUCTURES = (
    "kohya", "kohya split_qkv", "kohya without k", "kohya with mixed ranks and alphas", "kohya with negative alphas",
    "diffusers with fused q, k and v", "diffusers, attention only", "xlabs", "bf16", "fp8 e5m2", "mixed types",
)  # fmt: skip
"""cases that differ in what the reader returns: shared factors, missing parts, ranks, scales and types"""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_exported_exactly(tmp_path: Path, name: str, layout: str) -> None:
    case, (known, fused) = CASES[name], BASES["tiny"]
    expected = draw(case, fused)
    written = expected if case.metadata is None else unscaled(expected)
    metadata = {METADATA_KEY: json.dumps(case.metadata(expected))} if case.metadata else None
    source = write(tmp_path / "source", case.change(write_as_tool(written, case.key_format, fused)), metadata)
    lora = read(source, known, WIDE_BOUNDS).lora
    exported = lay_out(lora, fused, LAYOUTS[layout])
    reading = read(write(tmp_path / "exported", exported.tensors), known, WIDE_BOUNDS)
    assert (reading.layout, reading.warnings, reading.ignored_keys) == (READ_AS[layout], (), ())
    assert exported.rounding == 0
    assert_close(reading.lora, expected, "tiny")
    for slot in expected:
        assert squared_norm(difference(reading.lora[slot], lora[slot])) <= TOLERANCE**2 * squared_norm(
            lora[slot]
        )


@pytest.mark.parametrize("kind", ["lokr", "loha"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_factorizations_are_exported_exactly(tmp_path: Path, kind: str, layout: str) -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "loha": {"hada_w1_a": (16, 2), "hada_w1_b": (2, 16), "hada_w2_a": (16, 2), "hada_w2_b": (2, 16)},
        "lokr": {"lokr_w1": (2, 2), "lokr_w2_a": (8, 2), "lokr_w2_b": (2, 8)},
    }[kind]
    module = "lycoris_transformer_blocks_0_attn_to_out_0"
    tensors = {f"{module}.{role}": torch.randn(shape, generator=generator) for role, shape in shapes.items()}
    lora = read(
        write(tmp_path / "source", tensors | {f"{module}.alpha": torch.tensor(1.5)}), SLOTS, BOUNDS
    ).lora
    exported = lay_out(lora, FUSED, LAYOUTS[layout])
    assert_close(read(write(tmp_path / "exported", exported.tensors), SLOTS, BOUNDS).lora, lora, "tiny")


@pytest.mark.parametrize("layout", ["diffusers", "kohya"])
def test_diffusers_loads_the_exported_update(layout: str) -> None:
    lora = draw_fused(fused_slots(WIDE))
    exported = lay_out(lora, fused_slots(WIDE), LAYOUTS[layout])
    assert_close(load(exported.tensors), lora, "flux.1-dev")


def test_parts_of_different_ranks_are_joined_block_diagonally() -> None:
    lora, slot = draw_lora(), next(slot for slot in FUSED if len(slot.parts) == 4)
    present = [part for part in slot.parts if not part.name.endswith("to_k")]
    joined = join(lora, slot, present)
    assert joined.rank == sum(lora[part.name].rank for part in present)
    for part in slot.parts:
        rows = delta(joined)[part.row : part.row + part.d_out]
        expected = delta(lora[part.name]) if part in present else torch.zeros_like(rows)
        torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)


def test_parts_that_share_down_keep_the_rank_of_the_fused_layer() -> None:
    lora, slot = draw_fused(FUSED, ranks=(4,)), FUSED[0]
    copied = {name: replace(factors, down=factors.down.clone()) for name, factors in lora.items()}
    joined = join(copied, slot, slot.parts)
    assert (joined.rank, joined.scale) == (4, 0.5)


def test_type_of_the_source_is_kept_only_if_it_is_exact() -> None:
    lora = {
        SLOTS[0].name: Factors(torch.ones(1, 16).bfloat16(), torch.full((16, 1), 1.0078125).bfloat16(), 0.5)
    }
    assert lay_out(lora, FUSED, LAYOUTS["diffusers"]).dtype == "bfloat16"
    odd = {name: replace(factors, scale=0.3) for name, factors in lora.items()}
    assert lay_out(odd, FUSED, LAYOUTS["diffusers"]).dtype == "float32"
    assert lay_out(odd, FUSED, LAYOUTS["kohya"]).dtype == "bfloat16"
    forced = lay_out(odd, FUSED, LAYOUTS["diffusers"], "bfloat16")
    assert forced.dtype == "bfloat16" and 0 < forced.rounding < 2**-8


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_weights_have_the_requested_type(dtype: str) -> None:
    tensors = lay_out(draw_lora(), FUSED, LAYOUTS["kohya"], dtype).tensors
    assert {tensor.dtype for key, tensor in tensors.items() if not key.endswith("alpha")} == {DTYPES[dtype]}
    assert all(math.isfinite(float(tensor.float().sum())) for tensor in tensors.values())


def test_number_that_is_too_large_for_the_type_is_an_error() -> None:
    lora: Lora = {SLOTS[0].name: Factors(torch.ones(1, 16), torch.full((16, 1), 1e6), 1.0)}
    with pytest.raises(MismatchError, match="too large for float16"):
        lay_out(lora, FUSED, LAYOUTS["diffusers"], "float16")


def test_lora_of_another_base_model_is_an_error() -> None:
    with pytest.raises(MismatchError, match="does not have"):
        lay_out({"transformer_blocks.9.attn.to_q": draw_lora()[SLOTS[0].name]}, FUSED, LAYOUTS["bfl"])


def test_source_is_not_changed() -> None:
    lora = draw_lora()
    before = {name: (factors.down.clone(), factors.up.clone()) for name, factors in lora.items()}
    for layout in LAYOUTS.values():
        lay_out(lora, FUSED, layout)
    assert all(torch.equal(f.down, before[n][0]) and torch.equal(f.up, before[n][1]) for n, f in lora.items())
