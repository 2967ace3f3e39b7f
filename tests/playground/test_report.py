"""The playground's report: its measurements with judges and models of random weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer

from autolora.params import VllmParams, load
from autolora.vlm import VllmClient
from playground import authors, clip, contact_sheets, loras, measurements, pool, report, report_rows, world
from playground.backgrounds import SIZES
from playground.themes import KINDS
from tests.support import tiny_judges
from tests.support.fake_openai import FakeOpenAI
from tests.support.tiny_flux import TOKENS, build_pipeline, random_lora, save_peft, save_pipeline

pytestmark = pytest.mark.slow

VALUES = load(Path(__file__).parents[2] / "params.yaml")


@pytest.mark.parametrize("size", SIZES)
def test_measure_yields_every_row_and_saves_every_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sizes = {"DRAWINGS": 50, "BASE_IMAGES": 6, "IMAGES_PER_LORA": 2, "CAPTION_SETS": 2, "QUESTIONS": 10}
    for name, value in sizes.items():
        monkeypatch.setattr(measurements, name, value)
    recipes = [next(r for r in authors.recipes() if r.kind == kind) for kind in KINDS]
    for module in (loras, pool):
        monkeypatch.setattr(module, "POOL", tmp_path / "pool")
    monkeypatch.setattr(contact_sheets, "SHEETS", tmp_path / "sheets")
    for seed, recipe in enumerate(recipes):
        folder = tmp_path / "pool" / recipe.repo
        (folder / "images").mkdir(parents=True)
        save_peft(random_lora(seed), folder / recipe.file)
        for number in range(1, recipe.renderings + 1):
            Image.new("RGB", (size, size), "red").save(folder / "images" / f"{number}.png")
    judges = tiny_judges.params(tmp_path)
    monkeypatch.setattr(clip, "MAIN", replace(clip.MAIN, home=Path(judges.clip)))
    labels = [f"{field}:{name}" for field, names in world.FIELDS.items() for name in names]
    judges = replace(judges, classifier=str(tiny_judges.save_classifier(tmp_path / "oracle", labels)))
    captioner = shutil.copytree(judges.vlm, tmp_path / "captioner")
    base = replace(
        VALUES.models, pipeline=str(save_pipeline(tmp_path / "flux")), vlm=str(captioner), threads=1
    )
    small = replace(VALUES.generation, width=size, height=size, steps=1, max_sequence_length=TOKENS)
    short = replace(VALUES.captions, max_tokens=3)
    values = replace(VALUES, models=base, judges=judges, generation=small, captions=short)
    rows = list(report.measure(values, recipes))
    names = [row.name for row in rows]
    lora_rows = {f"{kind} LoRAs: {mean}" for kind in KINDS for mean in ("macro", "worst")}
    assert len(names) == len(set(names))
    assert set(names) == set(report_rows.TARGETS) | lora_rows | {"VLM captions: background"}
    assert all(row.interval[0] <= row.value <= row.interval[1] and 0 < row.chance <= 1 for row in rows)
    assert {path.stem for path in (tmp_path / "sheets").glob("*.png")} == {
        "objects", "styles", "backgrounds", "base", "styles_loras", "objects_loras", "palettes_scenes",
    }  # fmt: skip
    assert Image.open(tmp_path / "sheets" / "base.png").height > size


def test_generated_images_match_their_scenes_and_are_reproducible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = authors.recipes()[::40]
    for seed, recipe in enumerate(recipes):
        file = tmp_path / recipe.repo / recipe.file
        file.parent.mkdir(parents=True)
        save_peft(random_lora(seed), file)
    monkeypatch.setattr(loras, "POOL", tmp_path)
    monkeypatch.setattr(measurements, "BASE_IMAGES", 3)
    monkeypatch.setattr(measurements, "IMAGES_PER_LORA", 2)
    pipeline = build_pipeline()
    small = replace(VALUES.generation, width=32, height=32, steps=1, max_sequence_length=TOKENS, batch=2)
    base = measurements.generate_base_images(pipeline, small, 5)
    assert len(base.images) == len(base.scenes) == 3
    assert {scene.style for scene in base.scenes} == {world.PLAIN}
    by_lora = measurements.generate_lora_images(pipeline, recipes, small, VALUES.pool, 5)
    assert [len(generated.images) for generated in by_lora.values()] == [2] * len(recipes)
    for recipe, generated in by_lora.items():
        assert all(recipe.theme in vars(scene).values() for scene in generated.scenes)
    again = measurements.generate_base_images(pipeline, small, 5)
    assert [image.tobytes() for image in again.images] == [image.tobytes() for image in base.images]


def test_captions_of_renderings_are_scored_by_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = authors.recipes()[::30]
    params = replace(VALUES.captions, max_tokens=9)
    monkeypatch.setattr(loras, "POOL", tmp_path)
    captions: list[tuple[int, object]] = []
    for recipe in recipes:
        folder = tmp_path / recipe.repo / "images"
        folder.mkdir(parents=True)
        for number, (scene, _) in enumerate(loras.rendered_scenes(recipe), 1):
            Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
            captions.append(
                (200, f"a {scene.colour} {scene.object} in {scene.style} style {scene.background}")
            )
    with HTTPServer(host="127.0.0.1", threaded=True) as http:
        server = FakeOpenAI(http, "name")
        server.responses = [*captions]
        engine = VllmClient(VllmParams(urls=(http.url_for("/v1"),), timeout_s=60, attempts=1), "name", 1)
        right = measurements.measure_captions(engine, recipes, params, 0)
        assert {row.name: row.value for row in right} == {f"VLM captions: {f}": 1.0 for f in world.FIELDS}
        assert len(server.requests) == len(captions)
        server.responses = []  # from now on every caption is "a red house"
        wrong = measurements.measure_captions(engine, recipes, params, 0)
    assert [row.n for row in wrong] == [len(captions)] * 4
    assert wrong[0].value < 1 and wrong[3].value < 1


def test_chance_is_the_share_of_the_most_frequent_value() -> None:
    scenes = [world.Scene(name, "red", "white") for name in ("cat", "cat", "key")]
    assert measurements._largest_share(scenes, "object") == pytest.approx(2 / 3)
