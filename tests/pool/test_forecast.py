"""The forecast of downloads: exactly the files and images that are missing from the pool."""

from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog.store import read_all
from autolora.crawl.budget import Cost
from autolora.pool import store as pool
from autolora.pool.forecast import forecast
from autolora.storage.files import read_rows, write_rows
from tests.support.synthetic_repo import make_adapter, write_repository, write_weights
from tests.support.tiny_pool import RULES

ADAPTERS = [make_adapter("mosaic", 0), make_adapter("neon", 1), make_adapter("chalk", 2)]
ONE_ADAPTER = Cost(files=1, size=1000, renderings=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A pool that contains everything in its catalog."""
    write_repository(tmp_path, ADAPTERS)
    write_weights(tmp_path, ADAPTERS)
    for key in pool.renderings(tmp_path):
        path = pool.rendering_path(tmp_path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def missing(root: Path) -> dict[str, Cost]:
    return forecast(root, read_all(root), RULES)


def test_a_complete_pool_downloads_nothing(root: Path) -> None:
    assert missing(root) == {}


def test_new_and_lost_files_are_downloaded(root: Path) -> None:
    rows = [
        *read_all(root),
        make_adapter("pixel", 3).listing,
        replace(make_adapter("linocut", 4).listing, status="queued"),
    ]
    assert forecast(root, rows, RULES) == {"huggingface": ONE_ADAPTER}
    pool.weights_path(root, ADAPTERS[0].sha256).unlink()
    next(path for path in pool.folder(root).rglob("*.png")).unlink()
    assert missing(root) == {"huggingface": Cost(files=1, size=1000, renderings=1)}


def test_a_clone_downloads_everything_except_present_files(root: Path) -> None:
    for table in pool.TABLES:
        pool.table_path(root, table).unlink(missing_ok=True)
    assert missing(root) == {"huggingface": Cost(renderings=6)}
    for adapter in ADAPTERS:
        pool.weights_path(root, adapter.sha256).unlink()
    assert missing(root) == {"huggingface": ONE_ADAPTER + ONE_ADAPTER + ONE_ADAPTER}


def test_refused_files_are_not_downloaded_again(root: Path) -> None:
    table = pool.table_path(root, "adapters")
    write_rows(table, [row | {"verdict": "zero-effect"} for row in read_rows(table)])
    for adapter in ADAPTERS:
        pool.weights_path(root, adapter.sha256).unlink()
    assert missing(root) == {}


def test_a_file_on_two_hubs_counts_once_and_an_unknown_size_as_the_maximum(root: Path) -> None:
    new = replace(make_adapter("pixel", 3).listing, size=None, renderings=())
    costs = forecast(root, [new, replace(new, hub="civitai")], RULES)
    assert costs == {"huggingface": Cost(files=1, size=int(RULES.max_file_mb * 1_000_000))}
