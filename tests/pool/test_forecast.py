"""What a night would fetch: all that the pool lacks, new to the catalog or not, and nothing else."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog.store import catalog_path, entries
from autolora.crawl.budget import Cost
from autolora.pool import store as pool
from autolora.pool.forecast import forecast, restores
from autolora.storage.files import read_rows, write_rows
from tests.support.synthetic_repo import make, write_root, write_weights
from tests.support.tiny_pool import RULES

MADE = [make("mosaic", 0), make("neon", 1), make("chalk", 2)]
WHOLE = Cost(files=1, size=1000, renderings=2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A pool that has all that its catalog lists."""
    write_root(tmp_path, MADE)
    write_weights(tmp_path, MADE)
    for key in pool.renderings(tmp_path):
        path = pool.rendering_path(tmp_path, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def lacks(root: Path) -> dict[str, Cost]:
    return forecast(root, entries(root), RULES)


def test_what_is_there_is_not_fetched(root: Path) -> None:
    assert lacks(root) == {}


def test_what_is_new_or_lost_is_fetched(root: Path) -> None:
    rows = [*entries(root), make("pixel", 3).listing, replace(make("linocut", 4).listing, status="queued")]
    assert forecast(root, rows, RULES) == {"huggingface": WHOLE}
    pool.weights_path(root, MADE[0].sha256).unlink()
    next(path for path in (pool.folder(root) / "renderings").rglob("*.png")).unlink()
    assert lacks(root) == {"huggingface": Cost(files=1, size=1000, renderings=1)}


def test_a_clone_fetches_all_but_files_that_were_copied(root: Path) -> None:
    for table in pool.TABLES:
        pool.table_path(root, table).unlink(missing_ok=True)
    assert lacks(root) == {"huggingface": Cost(renderings=6)}
    for one in MADE:
        pool.weights_path(root, one.sha256).unlink()
    assert lacks(root) == {"huggingface": WHOLE + WHOLE + WHOLE}


def test_what_was_refused_is_not_asked_for_again(root: Path) -> None:
    table = pool.table_path(root, "adapters")
    write_rows(table, [row | {"verdict": "zero-effect"} for row in read_rows(table)])
    for one in MADE:
        pool.weights_path(root, one.sha256).unlink()
    assert lacks(root) == {}


def test_a_file_of_two_hubs_counts_once_and_its_size_may_be_as_large_as_the_rules_allow(root: Path) -> None:
    new = replace(make("pixel", 3).listing, size=None, renderings=())
    found = forecast(root, [new, replace(new, hub="civitai")], RULES)
    assert found == {"huggingface": Cost(files=1, size=int(RULES.max_file_mb * 1_000_000))}


def test_only_a_committed_catalog_that_is_missing_is_put_back(root: Path) -> None:
    catalog_path(root).rename(root / "away")
    assert not restores(root)
    (root / "away").rename(catalog_path(root))
    author = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "data/catalog.jsonl"], [*author, "commit", "-q", "-m", "night"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    assert not restores(root)
    catalog_path(root).unlink()
    assert restores(root)
