"""Verification and repair of batches that lie in DVC's remote only."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MissingArtifact
from autolora.integrity import repair
from autolora.integrity.advice import BRING_BACK, SEND
from autolora.integrity.content import ContentReader
from autolora.integrity.repair import NOT_THE_REMOTE, commands
from autolora.integrity.verification import EMPTY, EXTRA, MISSING
from autolora.params import load
from autolora.pool import batches
from autolora.pool.evicted import evicted_batches, fetched_path, local_path, stored_files
from autolora.pool.recipe import ReadRecipe
from autolora.pool.sketch_packs import find_sketches
from autolora.pool.stage import PoolSync
from flows.dvc_objects import empty_file
from playground.hubs.state import Hub
from playground.repository import change_params
from tests.integrity.versioned_repository import VersionedRepository, commit
from tests.lora.writing import CONFIG
from tests.pool.site import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def evicted(repository: VersionedRepository, tmp_path: Path) -> VersionedRepository:
    """A repository whose batches are evicted, with a copy of the remote of its own."""
    store = tmp_path / "store"
    shutil.copytree(repository.remote, store)
    repository.remote = store
    repository.add_remote()
    change_params(repository.root / "params.yaml", {"storage": {"keep_local_gb": 0.001}})
    commit(repository.root)
    (repository.root / "flows").symlink_to(Path(__file__).parents[2] / "flows")
    for batch in (repository.root / "data/pool/batches").iterdir():
        if batch.is_dir():
            for path in batch.rglob("*"):
                if path.is_file():
                    in_store(repository, path, ".dvc/cache").unlink()
            shutil.rmtree(batch)
    return repository


def in_store(repository: VersionedRepository, path: Path, store: str | Path) -> Path:
    """Return the object of a file on disk."""
    md5 = ContentReader().md5(path)
    return repository.root / store / "files/md5" / md5[:2] / md5[2:]


def test_evicted_batches_are_not_missing(evicted: VersionedRepository) -> None:
    report = evicted.verify()
    assert (report.findings, report.unasked) == ((), "") and report.remote_only
    assert evicted.plan() == []
    shutil.rmtree(evicted.root / ".dvc/cache")  # the lists too, as in a clone
    assert evicted.verify().remote_only == report.remote_only
    assert not [row for row in evicted.verify().findings if row.path.startswith("data/pool/batches/")]


def test_what_the_remote_lacks_is_found(evicted: VersionedRepository) -> None:
    sha256, taken_down, lost = sorted(stored_files(evicted.root, "weights"))[:3]
    objects = [
        in_store(evicted, local_path(evicted.root, "weights", name), evicted.remote)
        for name in (sha256, taken_down, lost)
    ]
    evicted.list_takedown(fetched_path(evicted.root, "weights", taken_down))
    empty_file(objects[0])
    objects[2].unlink()
    problems = {Path(row.path).stem: row.problem for row in evicted.verify().findings}
    assert problems == {sha256: EMPTY, taken_down: EXTRA, lost: MISSING}
    assert [row.source for row in evicted.plan()] == [None] * 3


def test_a_batch_of_which_the_remote_has_lost_files_comes_back_without_them(
    evicted: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, members = evicted.root, batches.members(evicted.root)["weights"]
    lost = min(members)
    in_store(evicted, local_path(root, "weights", lost), evicted.remote).unlink()
    batch = f"data/pool/batches/{members[lost]}"
    monkeypatch.chdir(root)
    text = CliRunner().invoke(app, ["verify"]).output
    assert f"missing  1 file of the evicted batch {batch}, which DVC's remote lacks" in text
    assert [row.reason for row in evicted.plan()] == [BRING_BACK]
    repairs = {row.finding.path: row for row in evicted.repair()}
    path = batches.file_path(root, "weights", lost)
    assert repairs.keys() == {batch, str(path.relative_to(root))}
    download, send = commands([*repairs.values()])
    assert "--single-item pool" in download and send == "python -m flows.dvc"
    assert (root / batch).exists() and not path.exists()
    others = {name for name in members if members[name] == members[lost]} - {lost}
    assert others and others <= batches.present_files(root, "weights")


def test_a_remote_without_anything_is_taken_for_another_one(evicted: VersionedRepository) -> None:
    away = evicted.remote.rename(evicted.remote.with_name("away"))
    evicted.remote.mkdir()
    evicted_before = evicted_batches(evicted.root)
    assert {row.reason for row in evicted.repair() if not row.finding.path.endswith(".dir")} == {
        BRING_BACK,
        NOT_THE_REMOTE,
    }
    assert evicted_batches(evicted.root) == evicted_before
    evicted.remote.rmdir()
    away.rename(evicted.remote)
    assert evicted.plan() == []


def test_lists_that_only_the_remote_has_lost_bring_nothing_back(evicted: VersionedRepository) -> None:
    for path in evicted.remote.rglob("*.dir"):
        path.unlink()
    repairs = evicted.repair()
    assert {row.finding.path[-4:] for row in repairs} == {".dir"} and evicted_batches(evicted.root)
    assert commands(repairs) == [SEND]


def test_a_fetch_that_fails_leaves_the_batch_evicted(
    evicted: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_dvc(root: Path, *arguments: str) -> str:
        raise MissingArtifact("the connection was lost")

    lost = min(batches.members(evicted.root)["weights"])
    in_store(evicted, local_path(evicted.root, "weights", lost), evicted.remote).unlink()
    before = evicted_batches(evicted.root)
    monkeypatch.setattr(repair, "run_dvc", run_dvc)
    reasons = {row.finding.path: row.reason for row in evicted.repair()}
    batch = f"data/pool/batches/{batches.members(evicted.root)['weights'][lost]}"
    assert "it stays in the remote" in reasons[batch] and "the connection was lost" in reasons[batch]
    assert evicted_batches(evicted.root) == before


def test_a_batch_that_was_lost_before_its_push_is_restored_from_the_cache(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    change_params(repository.root / "params.yaml", {"storage": {"keep_local_gb": 0.001}})
    repository.remote = tmp_path / "empty"
    repository.remote.mkdir()
    repository.add_remote()
    commit(repository.root)
    before = repository.contents()
    shutil.rmtree(next(path for path in (repository.root / "data/pool/batches").iterdir() if path.is_dir()))
    assert {row.problem for row in repository.verify().findings} == {MISSING}
    repository.repair()
    assert repository.contents() == before and repository.verify().findings == ()


def test_a_remote_that_is_away_is_said(evicted: VersionedRepository) -> None:
    (evicted.root / ".dvc/config.local").unlink()
    report = evicted.verify()
    assert report.findings == () and "`dvc remote` failed" in report.unasked
    (row,) = evicted.plan()
    assert row.reason == report.unasked and not row.source


def test_the_pool_downloads_no_evicted_file_again(evicted: VersionedRepository) -> None:
    recipe = ReadRecipe.for_base_model(CONFIG, load(evicted.root / "params.yaml").pool)
    sync = PoolSync(evicted.root, recipe)
    assert sync.missing_adapters() == sync.missing_renderings() == []
    change_params(evicted.root / "params.yaml", {"storage": {"keep_local_gb": None}})
    assert sync.missing_adapters() and sync.missing_renderings()


def test_sketches_of_another_size_are_made_of_fetched_files(evicted: VersionedRepository, hub: Hub) -> None:
    params = load(evicted.root / "params.yaml")
    recipe = ReadRecipe.for_base_model(CONFIG, replace(params.pool, sketch_size=params.pool.sketch_size * 2))
    assert params.hubs.huggingface
    site = Site(hub, params.hubs.huggingface.endpoint, evicted.root)
    hub.change({"reset": True})
    site.run_pool(recipe)
    assert site.requests() == {"weights": 1}, "the refused file, which the pool does not store"
    assert stored_files(evicted.root, "weights") == find_sketches(evicted.root, recipe.digest).keys()
    assert not batches.batch_names(evicted.root)
