"""The repository that bench.hub_size measures, with few adapters: the stages accept it as a complete pool."""

import argparse
from pathlib import Path

import pytest
import yaml

from autolora import models
from autolora.pool import store
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from bench.big_pool import PROJECT, BigPool
from bench.hub_size import ADD, CRAWL, UNCHANGED, disk_ratio, measure


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> BigPool:
    pool = BigPool(tmp_path_factory.mktemp("hub") / "root", renderings=2)
    pool.build()
    pool.add_to_hub(0, 6, real=False)
    pool.crawl()
    pool.fill()
    return pool


def test_filled_pool_is_complete(big: BigPool) -> None:
    recipe = ReadRecipe.for_base_model(models.transformer_config(big.params.models), big.params.pool)
    sync = PoolSync(big.root, recipe)
    assert (sync.missing_adapters(), sync.missing_renderings(), sync.compare_new_adapters()) == ([], [], 0)
    assert all(row.accepted for row in sync.rows().values()) and len(sync.rows()) == 6
    weights = next(store.folder(big.root).rglob("weights/*"))
    assert weights.stat().st_blocks * 512 < weights.stat().st_size, "the file is not sparse"


def test_new_adapters_are_missing_until_the_pool_stage_runs(big: BigPool) -> None:
    big.add_to_hub(6, 8, real=True)
    big.crawl()
    recipe = ReadRecipe.for_base_model(models.transformer_config(big.params.models), big.params.pool)
    assert [sources.primary.id for sources in PoolSync(big.root, recipe).missing_adapters()]


def test_measured_outputs_are_those_of_the_pipeline(big: BigPool) -> None:
    stages = [
        yaml.safe_load((root / "dvc.yaml").read_text())["stages"]["pool"] for root in (big.root, PROJECT)
    ]
    assert stages[0]["outs"] == stages[1]["outs"] and stages[0]["cmd"] == stages[1]["cmd"]


@pytest.mark.integration
def test_a_small_pool_is_measured(tmp_path: Path) -> None:
    options = argparse.Namespace(adapters=8, small=4, new=1, renderings=1, crawl=False)
    pool = BigPool(tmp_path / "root", renderings=1)
    rows = measure(pool, 4, options)
    assert rows.keys() >= {CRAWL, UNCHANGED, ADD, "`dvc repro`, 1 new"}
    assert disk_ratio(pool.root) < 1.5
    assert len(list((pool.root / "data/pool/batches").glob("*.dvc"))) == 2
