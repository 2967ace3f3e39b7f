"""Synthetic LoRAs are read as drawn, in both layouts, and contain their themes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autolora.lora.factors import delta
from autolora.lora.read import read
from autolora.lora.slots import fused_slots, slots
from bench.similarity import inner_product
from bench.synthetic import AdapterSpec, PoolSpec, draw_fused, draw_lora, lay_out, list_adapters
from bench.variants import copies, lay_out_copy
from tests.lora.writing import BOUNDS

TINY = PoolSpec(
    transformer={"num_layers": 3, "num_single_layers": 3, "num_attention_heads": 2, "attention_head_dim": 24},
    shares=(0.3, 0.9),
    themes=2,
    authors=2,
    adapters=6,
    ranks=(4, 8, 12),
)
SLOTS = slots(TINY.transformer)


def adapter_spec(**changes: object) -> AdapterSpec:
    return replace(list_adapters(TINY)[1], **{"rank": 8, "subset": "all", "layout": "peft", **changes})  # type: ignore[arg-type]


def cosine(first: AdapterSpec, second: AdapterSpec) -> float:
    a, b = draw_lora(first, TINY), draw_lora(second, TINY)
    return inner_product(a, b) / (inner_product(a, a) * inner_product(b, b)) ** 0.5


@pytest.mark.parametrize("layout", ("peft", "kohya"))
@pytest.mark.parametrize("subset", ("attention", "attention+ff", "all"))
def test_file_contains_the_drawn_lora(tmp_path: Path, layout: str, subset: str) -> None:
    spec = adapter_spec(layout=layout, subset=subset)
    lora, path = draw_lora(spec, TINY), tmp_path / "adapter.safetensors"
    save_file(lay_out(lora, spec, TINY), path)
    reading = read(path, SLOTS, BOUNDS)
    assert (reading.layout, reading.dtype, set(reading.lora)) == (layout, "bfloat16", set(lora))
    for name, factors in lora.items():
        assert torch.equal(delta(factors), delta(reading.lora[name]))


def test_drawing_does_not_depend_on_order() -> None:
    lora = draw_lora(adapter_spec(), TINY)
    last = fused_slots(TINY.transformer)[-1]
    for slot, factors in draw_fused(adapter_spec(), TINY, last):
        assert torch.equal(factors.up, lora[slot.name].up)


def test_themes_are_similar_across_ranks_layouts_and_authors() -> None:
    first = adapter_spec(share=0.9)
    same_theme = adapter_spec(share=0.9, number=5, rank=12, layout="kohya", author=1 - first.author)
    other_theme = adapter_spec(share=0.9, number=5, theme=1 - first.theme, author=1 - first.author)
    assert cosine(first, same_theme) > 0.2 > 0.1 > abs(cosine(first, other_theme))


def test_themes_have_equally_many_adapters() -> None:
    adapters = list_adapters(TINY)
    assert [sum(spec.theme == theme for spec in adapters) for theme in range(2)] == [3, 3]
    assert adapters == list_adapters(TINY)


@pytest.mark.parametrize("copy", copies(), ids=lambda copy: copy.name)
def test_copy_has_nearly_the_same_update(tmp_path: Path, copy) -> None:  # type: ignore[no-untyped-def]
    lora, path = draw_lora(adapter_spec(layout="kohya"), TINY), tmp_path / "copy.safetensors"
    save_file(lay_out_copy(copy, lora, "drawn"), path)
    copied = read(path, SLOTS, BOUNDS).lora
    cosine = inner_product(lora, copied) / (inner_product(lora, lora) * inner_product(copied, copied)) ** 0.5
    assert cosine > (0.999 if copy.required else 0.8)
