"""Params of tiny models that exist as folders, for plans that take a second."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.params import Params, load
from tests.support import tiny_judges
from tests.support.tiny_flux import TOKENS, save_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """Return the playground's params with tiny models."""
    folder, shipped = tmp_path_factory.mktemp("models"), load(ROOT / "params.yaml")
    judges = tiny_judges.params(folder / "judges")
    vlm = str(tiny_judges.save_vlm(folder / "vlm"))
    models = replace(shipped.models, pipeline=str(save_pipeline(folder / "flux")), vlm=vlm)
    generation = replace(shipped.generation, width=32, height=32, max_sequence_length=TOKENS)
    fusion = replace(shipped.fusion, image_size=32)
    crawl = replace(shipped.crawl, max_renderings=2)
    return replace(shipped, crawl=crawl, models=models, judges=judges, generation=generation, fusion=fusion)
