"""The repository that bench.hub_size measures, with few adapters: the stages accept it as a complete pool."""

from pathlib import Path

import pytest
import yaml

from autolora import models
from autolora.pool import store
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from bench.big_pool import FOLDERS, LAYOUTS, PROJECT, BigPool


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> BigPool:
    pool = BigPool(tmp_path_factory.mktemp("hub") / "root", renderings=2)
    pool.build("tables")
    pool.add_to_hub(0, 6, real=False)
    pool.crawl()
    pool.fill()
    return pool


def test_filled_pool_is_complete(big: BigPool) -> None:
    recipe = ReadRecipe.for_base_model(models.transformer_config(big.params.models), big.params.pool)
    sync = PoolSync(big.root, recipe)
    assert (sync.missing_adapters(), sync.missing_renderings(), sync.compare_new_adapters()) == ([], [], 0)
    assert all(row.accepted for row in sync.rows().values()) and len(sync.rows()) == 6
    weights = next((store.folder(big.root) / "weights").glob("*/*"))
    assert weights.stat().st_blocks * 512 < weights.stat().st_size, "the file is not sparse"


def test_new_adapters_are_missing_until_the_pool_stage_runs(big: BigPool) -> None:
    big.add_to_hub(6, 8, real=True)
    big.crawl()
    recipe = ReadRecipe.for_base_model(models.transformer_config(big.params.models), big.params.pool)
    assert [sources.primary.id for sources in PoolSync(big.root, recipe).missing_adapters()]


def test_measured_layout_is_the_one_of_the_pipeline() -> None:
    outs = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["pool"]["outs"]
    assert outs[:-1] == LAYOUTS["tables"]
    ignored = Path(PROJECT / ".dvcignore").read_text().splitlines()
    assert {f"/{folder}" for folder in FOLDERS} <= set(ignored)
