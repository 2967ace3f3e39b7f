"""Every artifact is versioned: going back and forward, stricter rules, and other machines."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolora.catalog import store as catalog
from autolora.pool import batches
from playground.repository import Repository, change_params
from tests.support.s3 import S3Server, s3_server

RELEASES = 3
PROMPT = "a cat in watercolour style"


@pytest.fixture(scope="module")
def releases(repository: Repository) -> list[dict[str, Any]]:
    """The refresh of the first day, and one on each of two more days, which commits: what each has left."""
    change_params(repository.root / "params.yaml", {"refresh": {"commit": True}})
    repository.commit("params")
    results = [state(repository)]
    for day in range(2, RELEASES + 1):
        repository.hub({"day": day})
        repository.committed_refresh(day)
        assert not repository.run("git", "status", "--porcelain").stdout
        results.append(state(repository))
    return results


def state(repository: Repository) -> dict[str, Any]:
    """Return the commit, the digests, the files of the pool, the vectors, and an answer."""
    return {
        "commit": repository.run("git", "rev-parse", "HEAD").stdout.strip(),
        "digests": repository.digests(),
        "files": repository.pool_files(),
        "vectors": vectors(repository.root),
        "answer": [hit["sha256"] for hit in repository.search(PROMPT)],
    }


def vectors(root: Path) -> dict[str, list[float]]:
    import lancedb

    rows = lancedb.connect(root / "data/index").open_table("adapters").to_arrow().to_pylist()
    return {row["sha256"]: row["weights_vector"] for row in rows}


def assert_equal_vectors(first: dict[str, list[float]], second: dict[str, list[float]]) -> None:
    assert first.keys() == second.keys()
    for sha256, vector in first.items():
        assert np.allclose(vector, second[sha256], atol=1e-5)


def test_each_refresh_adds_one_batch_and_changes_no_other(
    repository: Repository, releases: list[dict[str, Any]]
) -> None:
    names = [f"2026-01-{4 + day:02}" for day in range(1, RELEASES + 1)]
    assert batches.batch_names(repository.root) == names
    for before, after in pairwise(releases):
        assert before["files"].items() < after["files"].items()
        assert len({name.split("/")[0] for name in after["files"].keys() - before["files"].keys()}) == 1
    tracked = repository.run("git", "ls-files", "data/pool").stdout.split()
    assert {f"data/pool/batches/{name}.dvc" for name in names} <= set(tracked)
    weights = next(batches.batches_folder(repository.root).glob("*/weights/*"))
    assert weights.stat().st_nlink == 2, "the file is stored twice"


def test_going_back_and_forward_downloads_and_trains_nothing(
    repository: Repository, releases: list[dict[str, Any]]
) -> None:
    branch = repository.run("git", "rev-parse", "--abbrev-ref", "HEAD").stdout.strip()
    repository.requests()
    for release in (releases[0], releases[-1], releases[1], releases[-1]):
        repository.run("git", "checkout", "-q", release["commit"])
        repository.run("dvc", "checkout", "-q")
        assert "Running stage" not in repository.run("dvc", "repro").stdout
        assert repository.digests() == release["digests"]
        assert repository.pool_files().items() >= release["files"].items()
        assert_equal_vectors(vectors(repository.root), release["vectors"])
    repository.run("git", "checkout", "-q", branch)
    assert repository.requests().get("weights", 0) == 0


def test_an_older_catalog_and_a_stricter_rule_lose_no_byte(
    repository: Repository, releases: list[dict[str, Any]]
) -> None:
    """The catalog of the first release, then a stricter license rule, then back: nothing is downloaded again."""
    newest, before = catalog.read_all(repository.root), state(repository)
    repository.requests()
    repository.run("git", "restore", "--source", releases[0]["commit"], "data/catalog")
    repository.run("dvc", "commit", "--force", "crawl")
    repository.run("dvc", "repro", "pool")
    assert repository.pool_files() == before["files"]
    catalog.write(repository.root, newest)
    repository.run("dvc", "commit", "--force", "crawl")
    licenses = sorted({row["license"] for row in repository.listing()})
    change_params(repository.root / "params.yaml", {"crawl": {"licenses": licenses[:1]}})
    repository.committed_refresh(RELEASES)
    assert len(vectors(repository.root)) < len(before["vectors"])
    assert repository.pool_files() == before["files"]
    change_params(repository.root / "params.yaml", {"crawl": {"licenses": []}})
    output = repository.committed_refresh(RELEASES)
    assert "Running stage 'encoder'" not in output and "Running stage 'fusion'" not in output
    assert repository.pool_files() == before["files"]
    assert repository.requests().get("weights", 0) == 0
    assert_equal_vectors(vectors(repository.root), before["vectors"])
    assert repository.digests() == before["digests"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3"), "pool") as server:
        yield server


def test_a_clone_that_pulls_from_s3_answers_as_the_origin(
    repository: Repository, releases: list[dict[str, Any]], s3: S3Server, tmp_path: Path
) -> None:
    remote = ["dvc", "remote"]
    repository.run(*remote, "add", "-d", "store", "s3://pool/autolora")
    for name, value in s3.remote_settings().items():
        repository.run(*remote, "modify", "--local", "store", name, value)
    repository.commit("remote")
    repository.committed_refresh(RELEASES)
    clone = tmp_path / "clone"
    repository.run("git", "clone", "-q", str(repository.root), str(clone))
    copy = replace(repository, root=clone, endpoint="http://127.0.0.1:1")
    shutil.copy(repository.root / ".dvc/config.local", clone / ".dvc/config.local")
    repository.requests()
    copy.run("dvc", "pull", "-q")
    assert "Running stage" not in copy.run("dvc", "repro").stdout
    assert not copy.run("git", "status", "--porcelain").stdout
    assert copy.pool_files() == repository.pool_files()
    assert copy.search(PROMPT) == repository.search(PROMPT)
    generate = ("python", "-m", "autolora", "generate", PROMPT, "--seed", "1", "-o")
    for root, one in ((repository.root, repository), (clone, copy)):
        one.run(*generate, str(root / "cache/image.png"))
    assert (clone / "cache/image.png").read_bytes() == (repository.root / "cache/image.png").read_bytes()
    assert repository.requests() == {} or not repository.requests().get("weights")
