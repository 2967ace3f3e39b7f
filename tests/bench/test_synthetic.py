"""Synthetic LoRAs are read back as they were drawn, in both layouts, and hold what was planted."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from autolora.lora.factors import delta
from autolora.lora.read import read
from autolora.slots import fused_slots, slots
from bench.likeness import inner_product
from bench.synthetic import Recipe, World, draw_fused, draw_lora, lay_out, write_recipes
from bench.variants import copies, lay_out_copy
from tests.lora.writing import BOUNDS

TINY = World(
    transformer={"num_layers": 3, "num_single_layers": 3, "num_attention_heads": 2, "attention_head_dim": 24},
    shares=(0.3, 0.9),
    themes=2,
    authors=2,
    adapters=6,
    ranks=(4, 8, 12),
)
SLOTS = slots(TINY.transformer)


def recipe(**changes: object) -> Recipe:
    return replace(write_recipes(TINY)[1], **{"rank": 8, "subset": "all", "layout": "peft", **changes})  # type: ignore[arg-type]


def cosine(one: Recipe, other: Recipe) -> float:
    a, b = draw_lora(one, TINY), draw_lora(other, TINY)
    return inner_product(a, b) / (inner_product(a, a) * inner_product(b, b)) ** 0.5


@pytest.mark.parametrize("layout", ("peft", "kohya"))
@pytest.mark.parametrize("subset", ("attention", "attention+ff", "all"))
def test_a_file_holds_what_was_drawn(tmp_path: Path, layout: str, subset: str) -> None:
    one = recipe(layout=layout, subset=subset)
    lora, path = draw_lora(one, TINY), tmp_path / "adapter.safetensors"
    save_file(lay_out(lora, one, TINY), path)
    reading = read(path, SLOTS, BOUNDS)
    assert (reading.layout, reading.dtype, set(reading.lora)) == (layout, "bfloat16", set(lora))
    for name, factors in lora.items():
        assert torch.equal(delta(factors), delta(reading.lora[name]))


def test_drawing_depends_on_names_alone() -> None:
    whole = draw_lora(recipe(), TINY)
    last = fused_slots(TINY.transformer)[-1]
    for slot, factors in draw_fused(recipe(), TINY, last):
        assert torch.equal(factors.up, whole[slot.name].up)


def test_themes_are_alike_across_ranks_layouts_and_authors() -> None:
    one = recipe(share=0.9)
    twin = recipe(share=0.9, number=5, rank=12, layout="kohya", author=1 - one.author)
    stranger = recipe(share=0.9, number=5, theme=1 - one.theme, author=1 - one.author)
    assert cosine(one, twin) > 0.2 > 0.1 > abs(cosine(one, stranger))


def test_every_theme_has_as_many_adapters() -> None:
    recipes = write_recipes(TINY)
    assert [sum(r.theme == theme for r in recipes) for theme in range(2)] == [3, 3]
    assert recipes == write_recipes(TINY)


@pytest.mark.parametrize("copy", copies(), ids=lambda copy: copy.name)
def test_a_copy_is_the_same_update_in_another_file(tmp_path: Path, copy) -> None:  # type: ignore[no-untyped-def]
    lora, path = draw_lora(recipe(layout="kohya"), TINY), tmp_path / "copy.safetensors"
    save_file(lay_out_copy(copy, lora, "drawn"), path)
    again = read(path, SLOTS, BOUNDS).lora
    cosine = inner_product(lora, again) / (inner_product(lora, lora) * inner_product(again, again)) ** 0.5
    assert cosine > (0.999 if copy.asked else 0.8)
