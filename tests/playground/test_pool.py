"""The pool is complete: LoRAs, layouts, cards, renderings, bad files, schedule and truth."""

from __future__ import annotations

import hashlib
import json
import pickletools
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors import SafetensorError, safe_open

from playground import authors, layouts, loras, pool

RECIPES = authors.recipes()
REPOS = [*(r.repo for r in RECIPES), *pool.BAD]


def front_matter(repo: str) -> dict[str, object]:
    _, matter, _ = (pool.POOL / repo / "README.md").read_text().split("---\n", 2)
    parsed = yaml.safe_load(matter)
    assert isinstance(parsed, dict)
    return parsed


def test_numbers_by_day_and_layout() -> None:
    lines = (pool.POOL / "schedule.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    assert sorted(e["repo"] for e in entries) == sorted(REPOS)
    assert [sum(e["day"] == day for e in entries) for day in (1, 2, 3)] == [24 + 3, 3, 5]
    assert all(e["created_at"].endswith("Z") and e["downloads"] > 0 for e in entries)
    assert sum(r.kohya for r in RECIPES) == 16


@pytest.mark.parametrize("repo", REPOS)
def test_cards_parse_and_renderings_open(repo: str) -> None:
    card = front_matter(repo)
    assert card["base_model"] == pool.BASE_MODEL
    assert {"lora", "text-to-image", "diffusers", "template:sd-lora"} <= set(card["tags"])  # type: ignore[call-overload]
    widgets = card["widget"]
    assert isinstance(widgets, list) and 1 <= len(widgets) <= 5
    for widget in widgets:
        assert str(card["instance_prompt"]) in widget["text"]
        with Image.open(pool.POOL / repo / widget["output"]["url"]) as image:
            assert image.size == (64, 64)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.repo)
def test_files_have_the_layout_they_claim(recipe: authors.Recipe) -> None:
    with safe_open(pool.POOL / recipe.repo / recipe.file, framework="pt") as file:
        keys, header = set(file.keys()), file.metadata()
        if not recipe.kohya:
            assert all(k.startswith("transformer.") for k in keys)
            assert any(file.get_tensor(k).any() for k in keys if "lora_B" in k)
            return
        assert all(k.startswith("lora_unet_") for k in keys)
        assert header["ss_network_module"] == "networks.lora_flux"
        modules = {k.rsplit(".lora_down", 1)[0] for k in keys if k.endswith("lora_down.weight")}
        ratios = set()
        for module in modules:
            rank = file.get_tensor(f"{module}.lora_down.weight").shape[0]
            ratios.add(float(file.get_tensor(f"{module}.alpha")) / rank)
        assert len(ratios) > 1 and 1.0 not in ratios


def test_bad_files_are_bad() -> None:
    path = {fault: pool.POOL / repo / pool.BAD_FILE for repo, fault in pool.BAD.items()}
    assert path["pickle"].read_bytes()[:2] == b"\x80\x02"
    named = [value for _, value, _ in pickletools.genops(path["pickle"].read_bytes())]
    assert {"lora_down", "lora_up"} <= {value for value in named if isinstance(value, str)}
    for fault in ("pickle", "truncated"):
        with pytest.raises(SafetensorError):
            safe_open(path[fault], framework="pt").keys()
    with safe_open(path["wrong base"], framework="pt") as file:
        widths = {file.get_slice(k).get_shape()[1] for k in file.keys() if "down.weight" in k}  # noqa: SIM118
    assert widths == {320, 640, 1280}


def test_the_truth_covers_every_lora() -> None:
    truth = json.loads(pool.THEMES.read_text())
    for recipe in RECIPES:
        entry = truth[digest(pool.POOL / recipe.repo / recipe.file)]
        assert (entry["theme"], entry["repo"]) == (recipe.theme, recipe.repo)
    assert len(truth) == len(RECIPES) == 32
    assert len({entry["theme"] for entry in truth.values()}) == 10


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_kohya_layout_keeps_the_update_exact() -> None:
    torch.manual_seed(0)
    block = "single_transformer_blocks.1."
    widths = {block + n: w for n, w in _LINEARS.items()}
    lora = {
        block + n: (torch.randint(-3, 4, (2, 8)).float(), torch.randint(-3, 4, (w, 2)).float())
        for n, w in _LINEARS.items()
        if n != "attn.to_k"
    }
    state = layouts.kohya_state(lora, widths, seed=0)
    key = "lora_unet_single_blocks_1_linear1"
    down, up = state[f"{key}.lora_down.weight"].float(), state[f"{key}.lora_up.weight"].float()
    update = up @ down * (state[f"{key}.alpha"] / len(down))
    parts = update.split(list(_LINEARS.values()))
    for part, name in zip(parts, _LINEARS, strict=True):
        a, b = lora.get(block + name, (torch.zeros(1, 8), torch.zeros(_LINEARS[name], 1)))
        assert torch.equal(part, b @ a)


_LINEARS = {"attn.to_q": 8, "attn.to_k": 8, "attn.to_v": 8, "proj_mlp": 32}


def test_prompts_carry_the_trigger_word() -> None:
    for recipe in RECIPES:
        words = loras.prompts(recipe)
        assert len(words) == recipe.renderings
        assert all(recipe.trigger in text for text in words)
