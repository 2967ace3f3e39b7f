"""Presets: each is a complete variant, and params.yaml overrides single fields."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autolora.params import Params, load
from autolora.presets import Preset
from autolora.presets.encoder import ENCODER
from autolora.presets.fusion import FUSION
from studies.released import presets as released

ROOT = Path(__file__).parents[1]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def load_with(tmp_path: Path, base: Path, **sections: dict[str, object]) -> Params:
    """Return the params of a file with some keys of its sections replaced."""
    content = yaml.safe_load(base.read_text())
    for section, values in sections.items():
        content[section] |= values
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return load(path)


@pytest.mark.parametrize("preset", ENCODER)
@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.name)
def test_profiles_use_a_preset_without_overrides(tmp_path: Path, path: Path, preset: Preset) -> None:
    params = load_with(tmp_path, path, encoder={"preset": preset}, fusion={"preset": preset})
    assert (params.encoder.preset, params.encoder.variant) == (preset, ENCODER[preset])
    assert (params.fusion.preset, params.fusion.variant) == (preset, FUSION[preset])


def test_overrides_replace_single_fields(tmp_path: Path) -> None:
    encoder = {"preset": "paper", "overrides": {"causal": True, "temperature": 1}}
    fusion = {"preset": "best", "overrides": {"gate": "no_base", "global_rank": 0, "flow_shift": 3}}
    params = load_with(tmp_path, ROOT / "params.yaml", encoder=encoder, fusion=fusion)
    assert params.encoder.variant == replace(ENCODER["paper"], causal=True, temperature=1.0)
    assert params.fusion.variant == replace(FUSION["best"], gate="no_base", global_rank=0, flow_shift=3.0)


def test_released_is_the_published_training_command() -> None:
    encoder, fusion = released.ENCODER, released.FUSION
    assert (encoder.probe, encoder.layers, encoder.heads, encoder.mlp_ratio) == ("full", 2, 12, 4)
    assert (encoder.temperature, encoder.loss_factor, encoder.causal) == (1.0, 10.0, True)
    assert (encoder.learning_rate, encoder.weight_decay) == (1e-4, 0.01)
    assert (fusion.gate, fusion.global_rank, fusion.init_output_scale) == ("no_base", 2, 0.512)
    assert (fusion.hinge, fusion.caption_dropout, fusion.flow_shift) == (0.5, 0.3, 3.0)
    assert (fusion.learning_rate, fusion.schedule) == (1e-4, "cosine")
