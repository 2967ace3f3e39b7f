"""The playground's report: its statistics against known values, its readings on judges of random weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora.metrics.numbers import rounded, to_json
from autolora.params import VllmParams, load
from autolora.vlm import Served
from playground import authors, clip, loras, pool, readings, report, rows, sheets, world
from playground.rows import Row, cluster, count, exact, macro, worst
from tests.support import tiny_judges
from tests.support.fake_openai import Server
from tests.support.tiny_flux import TOKENS, build_pipeline, random_lora, save_peft, save_pipeline

VALUES = load(Path(__file__).parents[2] / "params.yaml")


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(8, 10, 0.4439, 0.9748), (0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (490, 500, 0.9635, 0.9904)],
)
def test_the_exact_interval_is_clopper_and_pearsons(right: int, n: int, low: float, high: float) -> None:
    assert exact(right, n) == pytest.approx((low, high), abs=1e-4)


def test_intervals_cover_the_truth_at_least_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    rights = rng.binomial(60, 0.9, 1000).tolist()
    found = {right: exact(right, 60) for right in set(rights)}
    assert np.mean([found[right][0] <= 0.9 <= found[right][1] for right in rights]) >= 0.95


def test_macro_weighs_themes_and_not_pictures_and_worst_is_named() -> None:
    themes = {"neon": [np.ones(8), np.zeros(8)], "clay": [np.ones(8)], "glitch": [np.ones(8)] * 3}
    row = macro("style LoRAs: macro", themes, 1 / 3, 0)
    assert (row.value, row.n) == (pytest.approx((0.5 + 1 + 1) / 3), 48)
    assert row.interval == (pytest.approx(2 / 3), 1.0)
    lowest = worst("style LoRAs: worst", themes, 1 / 3, 0)
    assert (lowest.which, lowest.value, lowest.n, lowest.interval) == ("neon", 0.5, 16, (0.0, 1.0))
    assert not lowest.fails and replace(lowest, value=0.49).fails
    assert macro("style LoRAs: macro", themes, 1 / 3, 0) == row


def test_where_all_hit_the_interval_is_the_exact_one() -> None:
    every = {"snow": [np.ones(8)] * 2}
    assert macro("scene LoRAs: macro", every, 1, 0).interval == exact(16, 16)
    assert cluster("VLM captions: style", np.ones(16), ["a", "b"] * 8, 0.5, 0).interval == exact(16, 16)
    assert cluster("VLM captions: style", np.zeros(16), ["a", "b"] * 8, 0.5, 0).interval == exact(0, 16)


def test_pictures_of_one_lora_vary_too() -> None:
    row = macro("scene LoRAs: macro", {"snow": [np.repeat([1.0, 0.0], 4)]}, 1, 0)
    assert row.interval[0] < 0.5 < row.interval[1]


def made(what: str, value: float) -> Row:
    return Row(what=what, value=value, interval=(0.1, 0.9), n=9, chance=0.25, seed=7)


def test_a_row_knows_its_floor_and_goal_and_goes_to_the_file_whole() -> None:
    row = made("base: object", 0.79)
    assert row.fails and not made("base: object", 0.8).fails
    assert not made("VLM captions: background", 0.0).fails
    assert json.loads(to_json(rounded(report.entry(row)))) == {
        "value": 0.79, "interval": [0.1, 0.9], "n": 9, "chance": 0.25, "floor": 0.8, "goal": 0.95, "seed": 7,
    }  # fmt: skip


def test_the_table_says_what_is_below_its_floor() -> None:
    shown = report.table(
        [made("base: object", 0.5), made("base: colour", 0.95), made("oracle: style", 1.0), made("x", 0.1)]
    )
    assert shown.row_count == 4
    assert list(shown.columns[-1].cells) == ["[red]below", "[yellow]floor", "[green]goal", ""]


def test_a_whole_report_on_models_of_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"DRAWINGS": 50, "BASE": 6, "EACH": 2, "GALLERIES": 2, "ASKED": 10}
    for name, value in few.items():
        monkeypatch.setattr(readings, name, value)
    chosen = [next(one for one in authors.recipes() if one.kind == kind) for kind in authors.KINDS]
    monkeypatch.setattr(authors, "recipes", lambda: chosen)
    for module in (loras, pool):
        monkeypatch.setattr(module, "POOL", tmp_path / "pool")
    monkeypatch.setattr(sheets, "SHEETS", tmp_path / "sheets")
    for place, recipe in enumerate(chosen):
        folder = tmp_path / "pool" / recipe.repo
        (folder / "images").mkdir(parents=True)
        save_peft(random_lora(place), folder / recipe.file)
        for number in range(1, recipe.renderings + 1):
            Image.new("RGB", (64, 64), "red").save(folder / "images" / f"{number}.png")
    judges = tiny_judges.params(tmp_path)
    monkeypatch.setattr(clip, "PARTY", replace(clip.PARTY, home=Path(judges.clip)))
    labels = [f"{field}:{name}" for field, names in world.FIELDS.items() for name in names]
    judges = replace(judges, classifier=str(tiny_judges.save_classifier(tmp_path / "oracle", labels)))
    base = replace(VALUES.models, pipeline=str(save_pipeline(tmp_path / "flux")), vlm=judges.vlm, threads=1)
    small = replace(VALUES.generation, width=32, height=32, steps=1, max_sequence_length=TOKENS)
    told = replace(VALUES.captions, max_tokens=3)
    found = list(report.measure(replace(VALUES, models=base, judges=judges, generation=small, captions=told)))
    kinds = {f"{kind} LoRAs: {how}" for kind in authors.KINDS for how in ("macro", "worst")}
    measured = [row.what for row in found]
    assert len(measured) == len(set(measured))
    assert set(measured) == set(rows.TARGETS) | kinds | {"VLM captions: background"}
    assert all(row.interval[0] <= row.value <= row.interval[1] and 0 < row.chance <= 1 for row in found)
    assert {path.stem for path in (tmp_path / "sheets").glob("*.png")} == {
        "objects", "styles", "backgrounds", "base", "styles_loras", "objects_loras", "palettes_scenes", "bad",
    }  # fmt: skip


def test_base_and_loras_paint_what_they_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = authors.recipes()[::40]
    for place, recipe in enumerate(chosen):
        file = tmp_path / recipe.repo / recipe.file
        file.parent.mkdir(parents=True)
        save_peft(random_lora(place), file)
    monkeypatch.setattr(authors, "recipes", lambda: chosen)
    monkeypatch.setattr(loras, "POOL", tmp_path)
    monkeypatch.setattr(readings, "BASE", 3)
    monkeypatch.setattr(readings, "EACH", 2)
    pipeline = build_pipeline()
    small = replace(VALUES.generation, width=32, height=32, steps=1, max_sequence_length=TOKENS, batch=2)
    base = readings.paint_base(pipeline, small, 5)
    assert len(base.images) == len(base.scenes) == 3
    assert {scene.style for scene in base.scenes} == {world.PLAIN}
    painted = readings.paint_loras(pipeline, small, VALUES.pool, 5)
    assert [len(shown.images) for shown in painted.values()] == [2] * len(chosen)
    for recipe, shown in painted.items():
        assert all(recipe.theme in vars(scene).values() for scene in shown.scenes)
    again = readings.paint_base(pipeline, small, 5)
    assert [one.tobytes() for one in again.images] == [one.tobytes() for one in base.images]


def test_captions_of_renderings_are_counted_by_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = authors.recipes()[::30]
    monkeypatch.setattr(authors, "recipes", lambda: chosen)
    monkeypatch.setattr(loras, "POOL", tmp_path)
    answers: list[tuple[int, object]] = []
    for recipe in chosen:
        folder = tmp_path / recipe.repo / "images"
        folder.mkdir(parents=True)
        for place, (scene, _) in enumerate(loras.shown(recipe), 1):
            Image.new("RGB", (8, 8)).save(folder / f"{place}.png")
            answers.append(
                (200, f"a {scene.colour} {scene.object} in {scene.style} style {scene.background}")
            )
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        server = Server(http, "name")
        server.answers = [*answers]
        engine = Served(VllmParams(url=http.url_for("/v1"), timeout_s=5, attempts=1), "name", 1)
        found = {row.what: row.value for row in readings.read_captions(engine, "Say it.", 9, 0)}
        assert found == {f"VLM captions: {field}": 1.0 for field in world.FIELDS}
        assert len(server.asked) == len(answers)
        server.answers = []
        wrong = readings.read_captions(engine, "Say it.", 9, 0)
    assert [row.n for row in wrong] == [len(answers)] * 4
    assert wrong[0].value < 1 and wrong[3].value < 1


def test_chance_is_naming_always_the_same() -> None:
    row = count("oracle: object", np.array([1.0, 0.0]), 0.5, 0)
    assert (row.value, row.chance) == (0.5, 0.5)
    scenes = [world.Scene(name, "red", "white") for name in ("cat", "cat", "key")]
    assert readings._commonest(scenes, "object") == pytest.approx(2 / 3)


def test_a_sheet_labels_its_rows_and_keeps_every_picture() -> None:
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    page = sheets.sheet([("a long label", [red, blue]), ("b", [blue])])
    assert page.height == 2 * sheets.MARGIN + 2 * 64 + sheets.GAP
    right = page.width - sheets.MARGIN - 1
    assert page.getpixel((right, sheets.MARGIN)) == (0, 0, 255)
    assert page.getpixel((right, page.height - sheets.MARGIN - 1)) == sheets.PAPER
    assert page.getpixel((right - 64 - sheets.GAP, page.height - sheets.MARGIN - 1)) == (0, 0, 255)
    labels = page.crop((0, 0, page.width - 2 * 64 - sheets.GAP - sheets.MARGIN, page.height))
    assert min(labels.convert("L").tobytes()) < 128


def test_every_lora_of_a_theme_gets_its_turn() -> None:
    recipes = [recipe for recipe in authors.recipes() if recipe.kind == "scene"]
    painted = {
        recipe: readings.Painted([], [Image.new("RGB", (64, 64), (20 * place, 0, 0))] * 8)
        for place, recipe in enumerate(recipes)
    }
    page = sheets.loras_sheet(painted, ["scene"])
    themes = list(dict.fromkeys(recipe.theme for recipe in recipes))
    assert page.height == 2 * sheets.MARGIN + len(themes) * (64 + sheets.GAP) - sheets.GAP
    first = [place for place, recipe in enumerate(recipes) if recipe.theme == themes[0]]
    left = page.width - sheets.MARGIN - sheets.COLUMNS * (64 + sheets.GAP) + sheets.GAP
    seen = [page.getpixel((left + x * (64 + sheets.GAP) + 5, sheets.MARGIN + 5)) for x in range(len(first))]
    assert seen == [(20 * place, 0, 0) for place in first]
