"""A night at the size of a hub, on a small one: what the bench builds is a pool to the stages."""

from pathlib import Path

import pytest
import yaml

from autolora import models
from autolora.pool import recipe
from autolora.pool import store as pool
from autolora.pool.stage import Stock
from bench.big_pool import FOLDERS, LAYOUTS, PROJECT, BigPool


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> BigPool:
    made = BigPool(tmp_path_factory.mktemp("hub") / "root", renderings=2)
    made.build("tables")
    made.list(0, 6, whole=False)
    made.crawl()
    made.fill()
    return made


def test_what_is_made_is_a_pool_that_lacks_nothing(big: BigPool) -> None:
    terms = recipe.terms(models.transformer_config(big.params.models), big.params.pool)
    stock = Stock(big.root, terms)
    assert (stock.missing_adapters(), stock.missing_renderings(), stock.compare_newcomers()) == ([], [], 0)
    assert all(row.accepted for row in stock.rows().values()) and len(stock.rows()) == 6
    weights = next((pool.folder(big.root) / "weights").glob("*/*"))
    assert weights.stat().st_blocks * 512 < weights.stat().st_size, "sparse"


def test_new_ones_are_whole(big: BigPool) -> None:
    big.list(6, 8, whole=True)
    big.crawl()
    terms = recipe.terms(models.transformer_config(big.params.models), big.params.pool)
    assert [origins.named.id for origins in Stock(big.root, terms).missing_adapters()]


def test_the_layout_that_is_measured_is_the_pipelines() -> None:
    outs = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]["pool"]["outs"]
    assert outs[:-1] == LAYOUTS["tables"]
    ignored = Path(PROJECT / ".dvcignore").read_text().splitlines()
    assert {f"/{folder}" for folder in FOLDERS} <= set(ignored)
