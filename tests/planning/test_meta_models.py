"""Models without weights: their sizes are those of the real ones."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora import models
from autolora.errors import MissingArtifact
from autolora.lora.slots import slots
from autolora.params import Params, load
from autolora.planning import meta_models

PROFILE = load(Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml")


@pytest.mark.slow
def test_the_models_of_the_profile_have_their_published_sizes() -> None:
    pipeline = meta_models.pipeline(PROFILE.models)
    sizes = {part: meta_models.weight_bytes(getattr(pipeline, part)) for part in meta_models.PARTS}
    billions = {part: size / 2e9 for part, size in sizes.items()}
    published = {"transformer": 11.901, "text_encoder": 0.123, "text_encoder_2": 4.762, "vae": 0.084}
    assert billions == pytest.approx(published, abs=0.001)
    assert len(slots(pipeline.transformer.config)) == 494
    vlms = (meta_models.vlm(section, torch.bfloat16) for section in (PROFILE.models, PROFILE.judges))
    assert [meta_models.weight_bytes(vlm) / 2e9 for vlm in vlms] == pytest.approx([8.292, 7.567], abs=0.001)
    assert meta_models.weight_bytes(meta_models.judge_clip(PROFILE.judges)) / 4e9 == pytest.approx(
        0.986, abs=0.001
    )


def test_a_folders_models_have_the_sizes_of_their_files(params: Params) -> None:
    pipeline, real = meta_models.pipeline(params.models), models.load_pipeline(params.models)
    for part in meta_models.PARTS:
        expected = {name: value.shape for name, value in getattr(real, part).named_parameters()}
        assert {name: value.shape for name, value in getattr(pipeline, part).named_parameters()} == expected
        assert all(
            value.is_meta and not value.requires_grad for value in getattr(pipeline, part).parameters()
        )
    assert torch.get_default_dtype() == torch.float32


def test_precision_is_that_of_the_params(params: Params) -> None:
    halves = meta_models.pipeline(replace(params.models, dtype="bfloat16"))
    assert halves.size == meta_models.pipeline(params.models).size / 2
    assert torch.get_default_dtype() == torch.float32


def test_a_folder_without_configs_is_an_error_that_names_it(params: Params, tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=rf"cannot read {tmp_path}/transformer/config.json"):
        meta_models.pipeline(replace(params.models, pipeline=str(tmp_path)))
    with pytest.raises(MissingArtifact, match=rf"cannot read the config of {tmp_path}"):
        meta_models.vlm(replace(params.models, vlm=str(tmp_path)), torch.float32)
