"""The parts of `python -m playground.rehearsal` that need no large model."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from autolora.lora.fingerprint import fingerprint
from autolora.lora.read import read_and_sketch
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import slots
from autolora.params import load
from playground.rehearsal import loras
from playground.rehearsal.checks import compare, theme_of
from playground.rehearsal.page import OWN_COLLECTION, POOL, commands
from playground.rehearsal.watch import Peaks, name_of

ROOT = Path(__file__).parents[2]
TINY = {"num_attention_heads": 2, "attention_head_dim": 32, "num_layers": 1, "num_single_layers": 1}
"""config of a transformer with two blocks"""


def test_the_files_have_all_layouts_themes_and_precisions() -> None:
    recipes = loras.recipes()
    assert {recipe.layout for recipe in recipes} == {*loras.LAYOUTS} and len(loras.LAYOUTS) == 8
    assert {*Counter(recipe.theme for recipe in recipes).values()} == {4}
    assert {recipe.dtype for recipe in recipes} == {*loras.DTYPES}
    assert len({recipe.repo for recipe in recipes}) == loras.FILES


def test_files_of_a_theme_are_alike_whatever_their_layout(tmp_path: Path) -> None:
    loras.build(tmp_path, TINY, 32, loras.recipes())
    files = sorted(tmp_path.glob("*/*/*.safetensors"))
    assert len(files) == loras.FILES
    bounds, spec = load(ROOT / "params.yaml").pool, SketchSpec(16)
    sketches = [read_and_sketch(file, slots(TINY), bounds, spec)[1].values.numpy() for file in files]
    rows = np.stack([fingerprint(sketch) for sketch in sketches])
    cosines = rows @ rows.T - 2 * np.eye(len(rows))
    nearest = [theme_of(files[row].name) for row in cosines.argmax(axis=1)]
    assert nearest == [theme_of(file.name) for file in files]


@pytest.mark.parametrize("theme", loras.THEMES)
def test_an_image_is_captioned_by_its_theme(theme: str) -> None:
    stream = io.BytesIO()
    loras.picture(theme, 64, seed=3).save(stream, "png")
    assert loras.describe(stream.getvalue()).startswith(f"{theme} in ")


def test_the_commands_of_the_page_are_read() -> None:
    own, pool = commands(OWN_COLLECTION), commands(POOL)
    assert "autolora index --train" in own and "autolora index ~/loras" in own
    assert pool[0] == "cp profiles/flux.1-dev.yaml params.yaml" and pool[-1] == "autolora refresh"
    assert not any("#" in line or not line for line in own + pool)
    with pytest.raises(IndexError):
        commands("no such section")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python", "-m", "flows.encoder"], "encoder"),
        (["/x/bin/python", "/x/bin/autolora", "index", "--train"], "index --train"),
        (["python", "-m", "autolora", "search", "a red fox"], "search"),
        (["python", "-m", "prefect", "server"], None),
    ],
)
def test_processes_are_named_by_stage_or_command(command: list[str], name: str | None) -> None:
    assert name_of(command) == name


def test_the_largest_memory_counts() -> None:
    peaks = Peaks()
    for memory, card in ((3, 0), (5, 2), (4, 1)):
        peaks.see("fusion", memory, card)
    assert (peaks.memory, peaks.card) == ({"fusion": 5}, {"fusion": 2})


def test_a_plan_is_right_within_a_factor_of_what_counts() -> None:
    planned = [
        {"stage": "fusion", "seconds": 100.0, "memory": 8e9},
        {"stage": "crawl", "seconds": 1.0, "memory": 1e8},
    ]
    found = compare(planned, {"fusion": 201.0, "crawl": 9.0}, {"fusion": int(5e9), "crawl": int(1e9)})
    assert [check.is_right for check in found] == [False, False, True, True]
    assert all(check.is_right for check in compare(planned, {"fusion": 199.0}, {"fusion": int(5.4e9)}))
