"""The committed pool is complete: LoRAs, layouts, cards, renderings, bad files, schedule and themes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from autolora import models
from autolora.errors import RefusedFile
from autolora.lora.factors import Factors
from autolora.lora.fingerprint import cosines_with_earlier, fingerprint
from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, sketch
from autolora.lora.slots import slots
from autolora.params import load
from playground import authors, layouts, loras, pool, world
from playground.themes import single_themes
from tests.lora.test_read import assert_same, read_tensors
from tests.lora.writing import SLOTS

ROOT = Path(__file__).parents[2]
RECIPES = authors.recipes()
REPOS = [*(r.repo for r in RECIPES), *pool.BAD]
PARAMS = load(ROOT / "params.yaml")
VERDICTS = {
    "pickle": "pickle", "wrong base": "wrong-base", "truncated": "truncated", "zero effect": "zero-effect",
    "not finite": "nan-or-inf",
}  # fmt: skip
"""fault of a bad file -> code of the reader's refusal"""


def front_matter(repo: str) -> dict[str, object]:
    _, matter, _ = (pool.POOL / repo / "README.md").read_text().split("---\n", 2)
    parsed = yaml.safe_load(matter)
    assert isinstance(parsed, dict)
    return parsed


def read_file(path: Path) -> object:
    return read(path, slots(models.transformer_config(PARAMS.models)), PARAMS.pool)


def test_schedule_has_every_repository_on_its_day() -> None:
    lines = (pool.POOL / "schedule.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    days = {recipe.repo: recipe.day for recipe in RECIPES} | dict.fromkeys(pool.BAD, 1)
    assert {entry["repo"]: entry["day"] for entry in entries} == days
    assert len(entries) == len(REPOS) == len(set(REPOS))
    assert all(entry["created_at"].endswith("Z") and entry["downloads"] > 0 for entry in entries)


def test_loras_of_a_theme_have_different_authors_and_habits() -> None:
    uploads = Counter(recipe.theme for recipe in RECIPES)
    assert uploads.keys() == set(single_themes())
    assert min(uploads.values()) >= 2
    for theme in uploads:
        recipes = [recipe for recipe in RECIPES if recipe.theme == theme]
        assert len({recipe.author for recipe in recipes}) == len(recipes), theme
        assert len({recipe.habit for recipe in recipes}) > 1, theme
    assert {recipe.layout for recipe in RECIPES} == {layout.name for layout in layouts.LAYOUTS}


@pytest.mark.parametrize("repo", REPOS)
def test_cards_parse_and_renderings_open(repo: str) -> None:
    card = front_matter(repo)
    assert card["base_model"] == pool.BASE_MODEL
    assert {"lora", "text-to-image", "diffusers", "template:sd-lora"} <= set(card["tags"])  # type: ignore[call-overload]
    widgets = card["widget"]
    least = 0 if repo in authors.WITHOUT_PICTURES else 1
    assert isinstance(widgets, list) and least <= len(widgets) <= PARAMS.crawl.max_renderings
    for widget in widgets:
        assert str(card["instance_prompt"]) in widget["text"]
        with Image.open(pool.POOL / repo / widget["output"]["url"]) as image:
            assert image.size == (world.SIZE, world.SIZE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.repo)
def test_files_have_the_layout_of_their_recipe(recipe: authors.Recipe) -> None:
    reading = read_file(pool.POOL / recipe.repo / recipe.file)
    assert reading.layout == recipe.layout
    assert reading.keys_used == reading.keys_seen and reading.dtype == "bfloat16"
    ranks = {factors.rank for factors in reading.lora.values()}
    assert ranks == {recipe.habit.rank} if recipe.habit.kept_energy == 1 else max(ranks) < recipe.habit.rank


@pytest.mark.parametrize("repo", pool.BAD)
def test_bad_files_are_refused_with_the_code_of_their_fault(repo: str) -> None:
    with pytest.raises(RefusedFile) as caught:
        read_file(pool.POOL / repo / pool.BAD_FILE)
    assert caught.value.code == VERDICTS[pool.BAD[repo]]


def test_themes_json_has_every_lora() -> None:
    themes = json.loads(pool.THEMES.read_text())
    for recipe in RECIPES:
        entry = themes[digest(pool.POOL / recipe.repo / recipe.file)]
        assert (entry["theme"], entry["kind"], entry["repo"]) == (recipe.theme, recipe.kind, recipe.repo)
    assert len(themes) == len(RECIPES)


@pytest.mark.slow
def test_no_loras_are_near_duplicates() -> None:
    known = slots(models.transformer_config(PARAMS.models))
    spec = SketchSpec(PARAMS.pool.sketch_size)
    loras = [read(pool.POOL / recipe.repo / recipe.file, known, PARAMS.pool).lora for recipe in RECIPES]
    prints = np.stack([fingerprint(sketch(lora, known, spec).values.numpy()) for lora in loras])
    highest = max(float(cosines.max()) for cosines in cosines_with_earlier(prints, 1))
    assert highest < PARAMS.pool.near_duplicate_cosine - 0.2, f"{highest:.3f}"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", sorted({layout.name for layout in layouts.LAYOUTS}))
def test_every_layout_stores_the_update_exactly(tmp_path: Path, layout: str) -> None:
    """The factors are small integers, which bf16 represents exactly, in all slots but one."""
    generator = torch.Generator().manual_seed(0)
    lora = {
        slot.name: (
            torch.randint(-3, 4, (2, slot.d_in), generator=generator).float(),
            torch.randint(-3, 4, (slot.d_out, 2), generator=generator).float(),
        )
        for slot in SLOTS[:1] + SLOTS[2:]
    }
    tensors = layouts.to_tensors(lora, layout, {slot.name: slot.d_out for slot in SLOTS}, seed=0)
    reading = read_tensors(tmp_path, tensors)
    assert reading.layout == layout
    assert_same(reading.lora, {name: Factors(down, up, 1.0) for name, (down, up) in lora.items()})


def test_prompts_of_renderings_have_the_trigger_word() -> None:
    for recipe in RECIPES:
        prompts = loras.prompts(recipe)
        assert len(prompts) == recipe.renderings
        assert all(recipe.trigger in prompt for prompt in prompts)


def test_resizing_keeps_the_given_share_of_energy() -> None:
    torch.manual_seed(0)
    strengths = torch.tensor([1.0, 0.8, 0.6, 0.3, 0.2, 0.1])
    lora = {"a": (torch.randn(6, 40), torch.randn(30, 6) * strengths)}
    down, up = layouts.resize(lora, 0.95)["a"]
    whole, resized = lora["a"][1] @ lora["a"][0], up @ down
    assert len(down) < 6
    assert 0.95 <= float(resized.square().sum() / whole.square().sum()) < 1
    assert float((whole - resized).square().sum() / whole.square().sum()) <= 0.05


def test_no_config_has_a_local_path() -> None:
    for path in (pool.HOME / "models").rglob("*.json"):
        assert "_name_or_path" not in json.loads(path.read_text()), path
