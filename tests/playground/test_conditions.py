"""LoRAs under other conditions: they differ only in what the condition names, and a build can continue."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autolora import models
from autolora.errors import AutoLoraError
from autolora.lora.read import read
from autolora.lora.slots import slots
from autolora.metrics.judgments import read_judgments
from autolora.params import load
from autolora.storage.lock import exclusive_folder
from playground import authors, bases, conditions, loras, pool
from playground.conditions import CONDITIONS, Condition

ROOT = Path(__file__).parents[2]
TINY = 0.005


def test_the_standard_condition_changes_nothing() -> None:
    recipes = conditions.recipes(CONDITIONS["standard"])
    plain = authors.make_recipes([(r.theme, 1) for r in recipes], conditions.FIRST, conditions.NAMES_SEED)
    assert recipes == plain and CONDITIONS["standard"].base == bases.MAIN


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_changes_only_what_it_names(name: str) -> None:
    condition = CONDITIONS[name]
    for recipe, plain in zip(conditions.recipes(condition), conditions.recipes(Condition()), strict=True):
        assert replace(recipe, habit=plain.habit) == plain
        assert recipe.habit.steps == condition.steps * plain.habit.steps
        assert recipe.habit.rate == condition.rate * plain.habit.rate
        assert recipe.habit.prior == (plain.habit.prior if condition.prior is None else 0.5)


def test_no_two_conditions_are_equal() -> None:
    assert len(set(CONDITIONS.values())) == len(CONDITIONS)
    assert {condition.base for condition in CONDITIONS.values()} == {bases.MAIN, *bases.FURTHER.values()}


def test_absent_themes_come_first_and_covered_ones_are_of_every_kind() -> None:
    recipes = conditions.recipes(Condition())
    themes = [recipe.theme for recipe in recipes]
    assert themes == [*conditions.ABSENT, *conditions.COVERED, *conditions.ABSENT]
    assert not {*conditions.ABSENT} & {*conditions.COVERED}
    assert {recipe.kind for recipe in recipes if recipe.theme in conditions.COVERED} == {
        "style", "object", "palette", "scene",
    }  # fmt: skip


def test_the_lock_of_the_committed_pool_has_no_adapter_of_absent_themes() -> None:
    """Skipped if the pipeline has not run here."""
    lock = ROOT / "data" / "training.jsonl"
    if not lock.exists():
        pytest.skip("data/training.jsonl is written by the pipeline")
    rows = [json.loads(line) for line in lock.read_text().splitlines()[1:]]
    themes = json.loads(pool.THEMES.read_text())
    trained = {themes[row["sha256"]]["theme"] for row in rows if row["split"] == "train"}
    assert not trained & {*conditions.ABSENT} and trained >= {*conditions.COVERED}


def test_seeds_and_repositories_differ_from_those_of_the_committed_pool() -> None:
    committed, recipes = authors.recipes(), conditions.recipes(Condition())
    assert not {r.seed for r in committed} & {r.seed for r in recipes}
    assert len({r.repo for r in recipes}) == len(recipes)


def test_a_build_continues_and_its_files_are_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "HOME", tmp_path)
    conditions.build("rate", count=1, scale=TINY)
    first = next((tmp_path / "rate" / "pool").glob("*/*/*.safetensors"))
    before = first.stat().st_mtime_ns
    conditions.build("rate", count=2, scale=TINY)
    assert first.stat().st_mtime_ns == before
    recipes = conditions.recipes(CONDITIONS["rate"])[:2]
    judgments = read_judgments(tmp_path / "rate" / "themes.json")
    assert [judgment.theme for judgment in judgments.values()] == [recipe.theme for recipe in recipes]
    params = load(ROOT / "params.yaml")
    for recipe in recipes:
        folder = tmp_path / "rate" / "pool" / recipe.repo
        reading = read(folder / recipe.file, slots(models.transformer_config(params.models)), params.pool)
        assert reading.layout == recipe.layout
        assert len(list((folder / "images").iterdir())) == recipe.renderings
        assert recipe.trigger in (folder / "README.md").read_text()
    schedule = (tmp_path / "rate" / "pool" / "schedule.jsonl").read_text().splitlines()
    assert {json.loads(line)["repo"] for line in schedule} == {recipe.repo for recipe in recipes}
    assert not list(tmp_path.rglob("*.partial"))


def test_a_base_that_is_not_trained_is_an_error_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained = Condition(replace(bases.FURTHER["seed"], home=tmp_path / "flux-seed"))
    monkeypatch.setitem(CONDITIONS, "seed", untrained)
    with pytest.raises(FileNotFoundError, match=r"does not exist: .*`python -m playground\.bases seed`"):
        conditions.build("seed")


def test_a_second_run_of_a_condition_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "HOME", tmp_path)
    monkeypatch.setattr(sys, "argv", ["conditions", "rate"])
    message = r"writing to .*/rate: .*, or name another condition"
    with exclusive_folder(tmp_path / "rate"), pytest.raises(AutoLoraError, match=message):
        conditions.main()


def test_an_unknown_condition_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["conditions", "harder"])
    with pytest.raises(SystemExit):
        conditions.main()
    assert "unknown conditions: harder; choose from standard, rate" in capsys.readouterr().err


@pytest.mark.parametrize("captioning", authors.CAPTIONINGS)
def test_captionings_differ_in_trigger_word_and_name(captioning: str) -> None:
    (recipe,) = authors.make_recipes([("cat + neon", 1)], 0, 1)
    recipe = replace(recipe, captioning=captioning, renderings=8)
    for prompt in loras.prompts(recipe):
        assert (recipe.trigger in prompt) == (captioning != authors.UNTRIGGERED)
        is_named = captioning != authors.TRIGGER_ONLY
        assert ("neon" in prompt) == ("cat" in prompt) == is_named
