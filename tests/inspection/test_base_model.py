"""The base model of inspections: named, of a project, or FLUX.1-dev."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from autolora.inspection.base_model import FLUX_DEV_NAME, bounds_of, open_base_model
from autolora.models import FLUX_1_DEV
from autolora.params import Params, load
from tests.inspection.files import write_pipeline

ROOT = Path(__file__).parents[2]


def test_limits_outside_a_project_are_those_of_a_new_one() -> None:
    assert bounds_of(None) == load(ROOT / "profiles/flux.1-dev.yaml").pool
    params = load(ROOT / "params.yaml")
    assert bounds_of(params) == params.pool


def test_default_is_flux_1_dev() -> None:
    base = open_base_model(None, None)
    assert (base.name, len(base.slots), len(base.fused_slots)) == (FLUX_DEV_NAME, 494, 304)
    assert "19 double and 38 single blocks of width 3072" in base.description


def test_named_pipeline_precedes_that_of_the_project(tmp_path: Path) -> None:
    params = _params(str(write_pipeline(tmp_path / "project")))
    other = str(write_pipeline(tmp_path / "other"))
    assert open_base_model(None, params).name == params.models.pipeline
    assert open_base_model(other, params).name == other
    assert open_base_model(FLUX_DEV_NAME, params).name == FLUX_DEV_NAME


def test_project_on_flux_1_dev_needs_no_download() -> None:
    assert open_base_model(None, _params(FLUX_1_DEV)).name == FLUX_DEV_NAME


@pytest.mark.parametrize("content", [None, "{", '{"num_layers": 1}', "[]"])
def test_folder_without_a_valid_config_is_an_error(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "transformer").mkdir()
    if content is not None:
        (tmp_path / "transformer/config.json").write_text(content)
    with pytest.raises(MissingArtifact, match="give the folder of a FluxPipeline"):
        open_base_model(str(tmp_path), None)


def _params(pipeline: str) -> Params:
    params = load(ROOT / "params.yaml")
    return replace(params, models=replace(params.models, pipeline=pipeline))
