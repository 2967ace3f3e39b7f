"""The recipe of the sealed test: themes, qualities, prompts, and a build of two LoRAs with few steps."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from autolora.metrics.judgments import read_judgments
from autolora.storage.lock import exclusive_folder
from playground import authors, conditions, text, world
from playground.sealed import __main__ as sealed
from playground.sealed import prompts
from playground.sealed.recipes import CAPTIONINGS, MISLABELLED, QUALITIES, recipes, spread, themes
from playground.themes import MIXED, parts, single_themes

RECIPES = recipes()
PLAIN = [entry.recipe for entry in RECIPES]
DESCRIBED, OTHERS = list(prompts.described(PLAIN)), list(prompts.out_of_distribution(PLAIN))
TINY = 0.005


def test_the_pool_has_the_stated_size() -> None:
    assert len(RECIPES) >= 162
    assert len({recipe.theme for recipe in PLAIN}) >= 60
    assert {recipe.theme for recipe in PLAIN} >= {*single_themes()}
    assert {recipe.renderings for recipe in PLAIN} == {1, 2, 3, 4, 5}
    assert len({recipe.repo for recipe in PLAIN}) == len(PLAIN)


def test_twelve_themes_are_held_out_whole() -> None:
    """No LoRA of the first day has or shows a held-out theme, not even as a part."""
    held_out = {entry.recipe.theme for entry in RECIPES if entry.is_held_out}
    assert len(held_out) == 12
    singles = {theme for theme in held_out if MIXED not in theme}
    for entry in RECIPES:
        assert entry.is_held_out == (entry.recipe.day == 2)
        if not entry.is_held_out:
            for theme in (entry.recipe.theme, entry.recipe.labelled.theme):
                assert theme not in held_out and not singles & {*theme.split(MIXED)}


def test_held_out_mixtures_have_a_held_out_part_and_a_visible_one() -> None:
    chosen = themes()
    for mixture in chosen.held_out_mixtures:
        names = {*mixture.split(MIXED)}
        assert len(names & {*chosen.held_out}) == len(names & {*chosen.visible}) == 1
    mixtures = (*chosen.visible_mixtures, *chosen.held_out_mixtures)
    assert len(set(mixtures)) == len(mixtures) == 26
    assert all(len(parts(mixture)) == 2 for mixture in mixtures)


def test_qualities_and_captionings_are_dealt_to_all() -> None:
    assert {entry.quality for entry in RECIPES} == {*QUALITIES}
    assert {recipe.captioning for recipe in PLAIN} == {*CAPTIONINGS} == {*authors.CAPTIONINGS}
    for entry in RECIPES:
        is_mislabelled = entry.quality == MISLABELLED
        assert (entry.recipe.shown is not None) == is_mislabelled
        assert (entry.recipe.labelled.theme != entry.recipe.theme) == is_mislabelled
    assert sum(entry.quality == MISLABELLED for entry in RECIPES) >= 15


def test_qualities_change_the_habit() -> None:
    habits = {(q, e.recipe.habit, e.recipe.strength) for e in RECIPES for q in [e.quality]}
    assert all(strength == 0.3 for quality, _, strength in habits if quality == "faint")
    assert all(habit.drawings == 12 for quality, habit, _ in habits if quality == "overtrained")
    assert all(habit.rank == 24 for quality, habit, _ in habits if quality == "large")
    assert all(habit in authors.HABITS for quality, habit, _ in habits if quality == "good")


def test_seeds_differ_from_those_of_all_other_loras() -> None:
    others = [*authors.recipes(), *conditions.recipes(conditions.Condition())]
    assert not {recipe.seed for recipe in PLAIN} & {recipe.seed for recipe in others}


def test_sets_of_prompts_have_the_stated_sizes() -> None:
    assert Counter(prompt.kind for prompt in DESCRIBED) == {f"described {n}": 300 for n in (1, 2, 3)}
    assert len(OTHERS) == len({prompt.prompt for prompt in OTHERS}) == 1000
    assert Counter(prompt.kind for prompt in OTHERS) == {
        "other grammar": 400, "other words": 300, "known to the base": 150, "unknown": 150,
    }  # fmt: skip


def test_prompts_are_reproducible_and_fit_the_text_encoder() -> None:
    assert list(prompts.described(PLAIN)) == DESCRIBED
    tokenizer = text.clip_tokenizer()
    assert max(len(tokenizer(p.prompt).input_ids) for p in [*DESCRIBED, *OTHERS]) <= text.LENGTH


def named(text: str) -> set[str]:
    return {theme for theme in single_themes() if re.search(rf"\b{theme}s?\b", text)}


def test_described_prompts_name_the_themes_of_their_renderings() -> None:
    paths = {
        f"{recipe.repo}/images/{number}.png": recipe.labelled.theme
        for recipe in PLAIN
        for number in range(1, recipe.renderings + 1)
    }
    for prompt in DESCRIBED:
        assert len(prompt.renderings) == int(prompt.kind[-1])
        asked = {part for path in prompt.renderings for part in paths[path].split(MIXED)}
        assert asked == named(prompt.prompt) == {theme for theme in prompt.themes if MIXED not in theme}
        mixtures = {theme for theme in prompt.themes if MIXED in theme}
        assert mixtures == {t for t in {r.theme for r in PLAIN} if MIXED in t and {*t.split(MIXED)} <= asked}


def test_prompts_out_of_distribution_are_of_their_kind() -> None:
    in_distribution = {word for prompt in DESCRIBED for word in re.findall("[a-z]+", prompt.prompt)}
    adjectives = {*prompts.ADJECTIVES, *prompts.ENDINGS}
    for prompt in OTHERS:
        singles = {theme for theme in prompt.themes if MIXED not in theme}
        if prompt.kind == "other grammar":
            assert named(prompt.prompt) == singles != set()
        elif prompt.kind == "other words":
            assert not named(prompt.prompt) - {*world.OBJECTS} and len(singles) == 1
            assert {w for w in adjectives if w in prompt.prompt}
        else:
            assert not prompt.themes and not named(prompt.prompt)
    assert not adjectives & in_distribution


def test_nothing_in_the_pool_fits_prompts_that_nothing_fits() -> None:
    """Not even a part of a mixture: neither what the recipes train, nor what mislabelled ones show."""
    themes_of_pool = {r.theme for r in PLAIN} | {r.labelled.theme for r in PLAIN}
    names = {name for theme in themes_of_pool for name in theme.split(MIXED)}
    nothing = [prompt for prompt in OTHERS if not prompt.themes]
    assert Counter(prompt.kind for prompt in nothing) == {"known to the base": 150, "unknown": 150}
    for prompt in nothing:
        assert not any(re.search(rf"\b{name}s?\b", prompt.prompt) for name in names)
    words = {*text.words()}
    for thing in prompts.UNKNOWN_THINGS:
        assert thing not in words


def test_out_of_distribution_prompts_describe_no_rendering_and_many_subjects() -> None:
    assert not any(prompt.renderings for prompt in OTHERS)
    subjects = Counter(prompt.subject for prompt in OTHERS)
    assert max(subjects.values()) < 60 and len(subjects) > 80


def test_few_loras_are_of_both_days_and_of_all_kinds() -> None:
    few = spread(20)
    assert len({entry.recipe.repo for entry in few}) == 20 and {entry.recipe.day for entry in few} == {1, 2}
    assert {entry.recipe.kind for entry in few} == {recipe.kind for recipe in PLAIN}
    assert spread(None) == spread(len(RECIPES)) == RECIPES
    with pytest.raises(ValueError, match="172 LoRAs, expected 1 to 171"):
        spread(172)


def test_commits_of_a_build_are_recorded_once(tmp_path: Path) -> None:
    sealed.record_commit(tmp_path / "pool")
    sealed.record_commit(tmp_path / "pool")
    assert len(json.loads((tmp_path / "pool" / "recipe.json").read_text())["commits"]) == 1


def test_a_small_build_is_complete_and_labelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [next(e for e in RECIPES if (e.quality == MISLABELLED) is wrong) for wrong in (False, True)]
    monkeypatch.setattr(sealed, "spread", lambda count: chosen)
    monkeypatch.setattr(sealed, "write_prompts", lambda home: None)
    sealed.build(tmp_path, TINY)
    labels = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["quality"] for row in labels] == [entry.quality for entry in chosen]
    assert [row["theme"] == row["shown"] for row in labels] == [True, False]
    judgments = read_judgments(tmp_path / "themes.json")
    assert {row["sha256"]: row["theme"] for row in labels} == {s: j.theme for s, j in judgments.items()}
    assert re.fullmatch(
        r"[0-9a-f]{40}(-dirty)?", json.loads((tmp_path / "recipe.json").read_text())["commits"][0]
    )
    for entry in chosen:
        folder = tmp_path / "pool" / entry.recipe.repo
        assert len(list((folder / "images").glob("*.png"))) == entry.recipe.renderings
        assert (folder / entry.recipe.file).exists()


def test_prompts_are_written_as_json_lines(tmp_path: Path) -> None:
    sealed.write_prompts(tmp_path)
    sizes = {path.name: len(path.read_text().splitlines()) for path in tmp_path.iterdir()}
    assert sizes == {"described.jsonl": 900, "out_of_distribution.jsonl": 1000}
    row = json.loads((tmp_path / "described.jsonl").read_text().splitlines()[0])
    assert row.keys() == {"prompt", "kind", "subject", "themes", "renderings"}


@pytest.mark.parametrize("count", [0, -1, len(recipes()) + 1])
def test_a_number_of_loras_that_does_not_exist_is_a_usage_error(
    count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        sealed.main(["--loras", str(count)])
    assert ended.value.code == 2
    assert f"error: --loras: {count} LoRAs, expected 1 to {len(recipes())}" in capsys.readouterr().err


def test_a_second_build_in_a_folder_is_refused(tmp_path: Path) -> None:
    message = f"writing to {tmp_path}: .*, or name another folder with -o"
    with exclusive_folder(tmp_path), pytest.raises(AutoLoraError, match=message):
        sealed.main(["-o", str(tmp_path)])


def test_help_states_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        sealed.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: python -m playground.sealed ")
    assert f"of both days (all {len(recipes())})" in text and "(cache/playground/162)" in text
