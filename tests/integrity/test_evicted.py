"""Verification and mending of batches that lie in DVC's remote only."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.integrity.content import ContentReader
from autolora.integrity.verification import EMPTY, EXTRA, MISSING, NOT_THE_REMOTE
from autolora.params import load
from autolora.pool import batches
from autolora.pool.evicted import evicted_batches, fetched_path, local_path, stored_files
from autolora.pool.recipe import ReadRecipe
from autolora.pool.sketch_packs import find_sketches
from autolora.pool.stage import PoolSync
from autolora.storage.hashes import hash_file
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


def test_a_batch_of_which_the_remote_has_lost_files_comes_back_without_them(
    evicted: VersionedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, members = evicted.root, batches.members(evicted.root)["weights"]
    lost = min(members)
    in_store(evicted, local_path(root, "weights", lost), evicted.remote).unlink()
    name = members[lost]
    batch = f"data/pool/batches/{name}"
    monkeypatch.chdir(root)
    command = (
        f"python -m flows.evict {name} && dvc repro --force --single-item pool && dvc add {batch} && "
        "python -m flows.dvc"
    )
    line = f"missing  {batch}/weights/{lost}.safetensors (evicted here, and DVC's remote lacks it)"
    assert f"{line}\n    {command}\n" in CliRunner().invoke(app, ["verify"]).output
    evicted.run(*command.partition(" && ")[0].split())
    path = batches.file_path(root, "weights", lost)
    assert (root / batch).exists() and not path.exists()
    others = {other for other in members if members[other] == name} - {lost}
    assert others and others <= batches.present_files(root, "weights")
    assert evicted.commands() and batch in evicted.commands()[0]
    evicted.run_commands()
    assert evicted.verify().findings == () and hash_file(path) == lost


@pytest.mark.parametrize("is_mounted", [False, True])
def test_a_remote_without_anything_is_taken_for_another_one(
    evicted: VersionedRepository, is_mounted: bool
) -> None:
    away = evicted.remote.rename(evicted.remote.with_name("away"))
    if is_mounted:
        evicted.remote.mkdir()
    reason = NOT_THE_REMOTE if is_mounted else "does not exist: mount it"
    report = evicted.verify()
    assert reason in report.unasked and report.findings == ()
    shutil.rmtree(evicted.remote, ignore_errors=True)
    away.rename(evicted.remote)
    assert evicted.verify().findings == ()


def test_lists_that_only_the_remote_has_lost_are_sent_again(evicted: VersionedRepository) -> None:
    for path in evicted.remote.rglob("*.dir"):
        path.unlink()
    mended = evicted.mend()
    assert [*mended] == ["python -m flows.dvc"] and evicted_batches(evicted.root)
    assert {row.path[-4:] for rows in mended.values() for row in rows} == {".dir"}


def test_a_fetch_that_fails_leaves_the_batch_evicted(evicted: VersionedRepository) -> None:
    root, members = evicted.root, batches.members(evicted.root)["weights"]
    lost = min(members)
    other = max(name for name in members if members[name] == members[lost])
    objects = [in_store(evicted, local_path(root, "weights", name), evicted.remote) for name in (lost, other)]
    objects[0].unlink()
    objects[1].unlink()
    objects[1].mkdir()  # cannot be fetched
    before = evicted_batches(root)
    with pytest.raises(AssertionError, match="failed to transfer"):
        evicted.run("python", "-m", "flows.evict", members[lost])
    assert evicted_batches(root) == before


def test_a_batch_that_was_lost_before_its_push_is_sent_from_the_cache(
    repository: VersionedRepository, tmp_path: Path
) -> None:
    change_params(repository.root / "params.yaml", {"storage": {"keep_local_gb": 0.001}})
    repository.remote = tmp_path / "empty"
    repository.remote.mkdir()
    repository.add_remote()
    commit(repository.root)
    shutil.rmtree(next(path for path in (repository.root / "data/pool/batches").iterdir() if path.is_dir()))
    assert {row.problem for row in repository.verify().findings} == {MISSING}
    (repository.root / "flows").symlink_to(Path(__file__).parents[2] / "flows")
    repository.run_commands()
    assert repository.verify().findings == ()
    name = next(iter(evicted_batches(repository.root)))
    members = batches.members(repository.root)["weights"]
    for sha256 in (sha256 for sha256, batch in members.items() if batch == name):
        assert hash_file(local_path(repository.root, "weights", sha256)) == sha256


def test_a_remote_that_is_away_is_said(evicted: VersionedRepository) -> None:
    (evicted.root / ".dvc/config.local").unlink()
    report = evicted.verify()
    assert report.findings == () and "`dvc remote` failed" in report.unasked


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
