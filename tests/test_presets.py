"""Presets: every departure is a field of the params, and null means the preset's value."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from autolora.params import EncoderParams, FusionParams, load
from autolora.presets import ENCODER, FUSION, EncoderForm, FusionForm, resolve

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))]


@pytest.mark.parametrize(("form", "section"), [(EncoderForm, EncoderParams), (FusionForm, FusionParams)])
def test_every_departure_is_a_param(form: type, section: type) -> None:
    assert {field.name for field in fields(form)} < {field.name for field in fields(section)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_as_shipped_a_preset_is_taken_whole(path: Path) -> None:
    params = load(path)
    for preset in ("paper", "released", "best"):
        assert resolve(ENCODER, replace(params.encoder, preset=preset)) == ENCODER[preset]
        assert resolve(FUSION, replace(params.fusion, preset=preset)) == FUSION[preset]


def test_a_value_takes_the_presets_place() -> None:
    params = load(ROOT / "params.yaml")
    changed = replace(params.encoder, preset="released", causal=False, temperature=0.07)
    assert resolve(ENCODER, changed) == replace(ENCODER["released"], causal=False, temperature=0.07)
    gates = replace(params.fusion, preset="released", gate="full", global_rank=0)
    assert resolve(FUSION, gates) == replace(FUSION["released"], gate="full", global_rank=0)
