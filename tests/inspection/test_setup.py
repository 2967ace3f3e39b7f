"""What inspections work with, with the playground's published encoder: outside of projects, and in them."""

import gc
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolora.errors import MismatchError, MissingArtifact
from autolora.inspection.description import Description
from autolora.inspection.facts import _description_facts
from autolora.inspection.setup import NO_TAGS, Setup, open_setup, prepare_process
from autolora.params import Params, load
from autolora.publication.manifest import MANIFEST

ROOT = Path(__file__).parents[2]
ENCODER = str(ROOT / "playground/encoder")
PIPELINE = str(ROOT / "playground/models/flux")


def opened(root: Path | None = None, params: Params | None = None, **options: str | None) -> Setup:
    return open_setup(root, params, **{"pipeline": None, "encoder": None} | options)


@pytest.fixture
def params() -> Params:
    params = load(ROOT / "params.yaml")
    return replace(params, models=replace(params.models, pipeline=PIPELINE))


def test_without_project_and_encoder_a_note_says_what_is_missing() -> None:
    setup = opened()
    assert setup.describer is None and "--encoder" in setup.note and setup.base.name == "flux.1-dev"


def test_published_encoder_brings_base_model_and_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    setup = opened(encoder=ENCODER)
    assert setup.describer and setup.note == "" and setup.base.transformer["num_layers"] == 2
    assert setup.describer.known_words("snow-cat") == ["snow", "cat"]
    assert setup.describer.has_tags
    assert not list(tmp_path.iterdir())


def test_an_encoder_without_tags_says_so_and_guesses_no_words(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(ENCODER, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]["data/encoder/tags.safetensors"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    setup = opened(encoder=str(folder))
    assert setup.note == NO_TAGS and setup.describer and not setup.describer.has_tags
    described = Description(tags=(), captions=(), adapters=(), checks=())
    assert _description_facts(described)["tags"] == "none: the encoder has no tags"


def test_pipeline_of_another_base_model_does_not_fit_an_encoder() -> None:
    with pytest.raises(MismatchError, match="trained for another base model"):
        opened(encoder=ENCODER, pipeline="flux.1-dev")


def test_encoder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact):
        opened(encoder=str(tmp_path / "none"))


def test_project_without_an_encoder_is_inspected_without_words(tmp_path: Path, params: Params) -> None:
    setup = opened(tmp_path, params)
    assert setup.describer is None and setup.base.name == PIPELINE
    assert setup.note.startswith("no words and nearest adapters (") and "has no encoder" in setup.note


def test_collections_skip_what_exists_before_the_inspection() -> None:
    threads = torch.get_num_threads()
    try:
        prepare_process()
        assert gc.get_freeze_count() > 0 and torch.get_num_threads() == 1
    finally:
        gc.unfreeze()
        torch.set_num_threads(threads)
