"""The large world: its recipes, and a tiny build with a project whose params and pool are those of the world."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from autolora.errors import AutoLoraError
from autolora.metrics.judgments import read_judgments
from autolora.params import load
from autolora.storage.lock import exclusive_folder
from playground import authors, bases, flux, world
from playground.hubs.state import Hub
from playground.themes import KINDS, single_themes
from studies.large import __main__ as large
from studies.large import project
from studies.large.recipes import BASE, HELD_OUT, held_out, recipes

RECIPES = recipes()
TINY = 0.005
SIZE = 128


def test_the_pool_has_two_loras_per_theme_and_one_per_held_out_theme() -> None:
    assert len(RECIPES) == len({recipe.repo for recipe in RECIPES}) == 64
    assert {recipe.theme for recipe in RECIPES} == {*single_themes()}
    hidden = held_out()
    assert {kind: len(hidden & {*KINDS[kind]}) for kind in HELD_OUT} == HELD_OUT
    for recipe in RECIPES:
        assert recipe.day == (2 if recipe.theme in hidden else 1)
    assert sum(recipe.theme in hidden for recipe in RECIPES) == len(hidden) == 12


def test_seeds_differ_from_those_of_the_committed_models() -> None:
    assert not {recipe.seed for recipe in RECIPES} & {recipe.seed for recipe in authors.recipes()}
    assert BASE.seed != bases.MAIN.seed


def test_the_base_is_trained_as_the_committed_one_with_larger_drawings() -> None:
    assert replace(BASE, home=flux.HOME, seed=bases.MAIN.seed, size=world.SIZE) == bases.MAIN
    assert BASE.size == SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build with two LoRAs, one of each day, and two steps of each training."""
    folder = tmp_path_factory.mktemp("large")
    base = replace(BASE, home=folder / "flux-large", drawings=32, steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bases.Base, "scaled", lambda base, scale: base)
        patch.setattr(flux, "check", lambda *_: {})
        shares = large.build(base, [RECIPES[0], RECIPES[-1]], TINY)
        assert {*shares} == {"style_shown", "object_shown"}
        stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
        large.build(base, [RECIPES[0], RECIPES[-1]], TINY)  # nothing is trained or cloned again
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    return folder


def test_images_of_a_build_have_128_pixels_per_side(folder: Path) -> None:
    images = [Image.open(path) for path in (folder / "pool").rglob("*.png")]
    assert len(images) == RECIPES[0].renderings + RECIPES[-1].renderings
    assert {image.size for image in images} == {(SIZE, SIZE)}
    pipe = flux.load(folder / "flux-large")
    assert [image.size for image in flux.sample(pipe, ["a red house on sand"], 0)] == [(SIZE, SIZE)]


def test_the_project_has_the_world_in_place_of_the_playground(folder: Path) -> None:
    clone = folder / "project"
    params = load(clone / "params.yaml")
    sizes = (params.generation.width, params.generation.height)
    assert {*sizes, params.fusion.image_size} == {SIZE}
    pool = clone / "playground" / "pool"
    first, second = Hub(pool, day=1), Hub(pool, day=2)
    assert first.find(RECIPES[0].repo) and not first.find(RECIPES[-1].repo)
    assert second.find(RECIPES[-1].repo) and len(second.repos) == 2
    judgments = read_judgments(clone / params.evaluation.themes)
    assert {judgment.theme for judgment in judgments.values()} == {RECIPES[0].theme, RECIPES[-1].theme}
    for name in ("transformer", "text_encoder_2"):
        (path,) = (folder / "flux-large" / name).glob("*.safetensors")
        assert (clone / params.models.pipeline / name / path.name).read_bytes() == path.read_bytes()


def test_the_project_is_committed_without_outputs_of_stages(folder: Path) -> None:
    clone = folder / "project"
    status = subprocess.run(["git", "status", "--short"], cwd=clone, check=True, capture_output=True)
    assert not status.stdout
    assert not (clone / "dvc.lock").exists() and not (clone / "metrics").exists()
    assert {path.parent.name for path in (clone / "digests").rglob("*.json")} == {"code"}
    assert not (clone / "data").exists()


def test_an_interrupted_project_is_not_taken_for_a_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError):
        project.write(tmp_path / "project", replace(BASE, home=tmp_path / "absent"))
    assert not (tmp_path / "project").exists()


def test_a_second_build_in_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["large", "-o", str(tmp_path)])
    message = f"writing to {tmp_path}: .*, or name another folder with -o"
    with exclusive_folder(tmp_path), pytest.raises(AutoLoraError, match=message):
        large.main()
