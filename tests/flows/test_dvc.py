"""Giving batches to DVC, pushing them, and recovering from killed processes, with real git and DVC repositories."""

import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from dvc.repo import Repo

from autolora.errors import AutoLoraError
from autolora.integrity.dvc_records import PUSHED, object_path
from autolora.integrity.taken_down import TakenDown
from autolora.lora.sketch import Sketch
from autolora.pool import batches, sketch_packs
from autolora.storage.files import append_rows
from autolora.storage.incremental import write_digest
from flows import dvc, dvc_objects, dvc_process
from playground.repository import kill_tree

pytestmark = pytest.mark.slow

TODAY = datetime.date(2026, 1, 5)
RECIPE = "0123456789abcdef"
SHAS = [f"{number:064x}" for number in range(3)]

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git and DVC repository with one closed batch of three files and their sketches."""
    root = tmp_path_factory.mktemp("template")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, check=True, cwd=root)
    ignore = {"batches": "/*/", "sketches": "/*.safetensors", ".": "/open\n/adding"}
    for folder, patterns in ignore.items():
        (root / "data/pool" / folder).mkdir(parents=True, exist_ok=True)
        (root / "data/pool" / folder / ".gitignore").write_text(f"{patterns}\n")
    (root / ".dvcignore").write_text("/data/pool/open\n/data/pool/adding\n")
    subprocess.run(["dvc", "config", "cache.type", "hardlink,symlink,copy"], check=True, cwd=root)
    (root / "cache").mkdir()
    (root / ".gitignore").write_text("/cache\n")
    (root / "dvc.yaml").write_text("stages: {}\n")
    close_batch(root, SHAS)
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository, which the flows take for theirs."""
    return copy_template(template, tmp_path / "repo", monkeypatch)


def copy_template(template: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, root)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # of flows.remote_objects
    for module in (dvc, dvc_process):
        monkeypatch.setattr(module, "ROOT", root)
    return root


def close_batch(root: Path, adapters: list[str], recipe: str = RECIPE) -> None:
    for sha256 in adapters:
        path = batches.file_path(root, "weights", sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sha256.encode())
        sketch = Sketch(torch.randn(2, 4, 4), torch.ones(2, dtype=torch.bool))
        sketch_packs.save_sketch(root, sha256, sketch)
    batches.close(root, {"weights": adapters, "renderings": ()}, TODAY)
    sketch_packs.close_packs(root, adapters, recipe)
    batches.remove_open(root)


def weights(root: Path) -> dict[str, bytes]:
    return {sha256: batches.file_path(root, "weights", sha256).read_bytes() for sha256 in SHAS}


def test_a_batch_is_added_once_and_stored_once(root: Path) -> None:
    before = weights(root)
    added = dvc.add_batches()
    assert added == [
        "data/pool/batches/2026-01-05.dvc",
        f"data/pool/sketches/2026-01-05-{RECIPE}.safetensors.dvc",
    ]
    assert weights(root) == before
    assert all(batches.file_path(root, "weights", sha256).stat().st_nlink == 2 for sha256 in SHAS)
    assert dvc.add_batches() == []
    assert not (root / "data/pool/adding").exists()


def test_a_file_that_is_linked_to_the_cache_is_copied_before_it_is_appended_to(root: Path) -> None:
    dvc.add_batches()
    path = batches.file_path(root, "weights", SHAS[0])
    append_rows(path, [{"a": 1}])
    assert path.stat().st_nlink == 1
    subprocess.run(["dvc", "checkout", "--force", "-q"], check=True, cwd=root)
    assert path.read_bytes() == SHAS[0].encode()


def test_a_clone_pulls_what_was_pushed(root: Path, tmp_path: Path) -> None:
    assert dvc.push() is None, "no remote is configured"
    subprocess.run(
        ["dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store")], check=True, cwd=root
    )
    dvc.add_batches()
    assert dvc.push() == 2
    assert dvc.push() == 0
    more = [f"{9:064x}"]
    close_batch(root, more)
    dvc.add_batches()
    assert dvc.push() == 2
    commit(root)
    subprocess.run(["git", "clone", "-q", str(root), str(tmp_path / "clone")], check=True)
    subprocess.run(["dvc", "pull", "-q"], check=True, cwd=tmp_path / "clone")
    assert weights(tmp_path / "clone") == weights(root)
    assert set(sketch_packs.find_sketches(tmp_path / "clone")) == {*SHAS, *more}


def test_another_remote_receives_everything(root: Path, tmp_path: Path) -> None:
    dvc.add_batches()
    for name in ("first", "second"):
        subprocess.run(
            ["dvc", "remote", "add", "-q", "-f", "-d", name, str(tmp_path / name)], check=True, cwd=root
        )
        assert dvc.push() == 2
    assert files(tmp_path / "first") == files(tmp_path / "second") != set()


def test_a_remote_that_was_emptied_gets_everything_again(root: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "store", str(store)], check=True, cwd=root)
    dvc.add_batches()
    assert (dvc.push(), dvc.push()) == (2, 0)
    before = files(store)
    shutil.rmtree(store)
    store.mkdir()
    assert dvc.push() == 2
    assert files(store) == before != set()


def test_a_batch_whose_files_the_cache_has_lost_is_given_to_dvc_again(root: Path) -> None:
    """Its list is in the cache: it was evicted, and downloaded from the hubs since."""
    dvc.add_batches()
    objects = [path for path in (root / ".dvc/cache/files").rglob("*") if path.is_file() and not path.suffix]
    for path in objects:
        path.unlink()
    assert dvc.add_batches() != []
    assert all(path.exists() for path in objects)


def pushed_store(root: Path, tmp_path: Path, patch: pytest.MonkeyPatch) -> Path:
    """Push all batches to a new folder and return it."""
    patch.setattr(dvc_objects, "ROOT", root)
    store = tmp_path / "store"
    subprocess.run(["dvc", "remote", "add", "-q", "-d", "store", str(store)], check=True, cwd=root)
    dvc.add_batches()
    dvc.push()
    return store


def test_objects_that_a_killed_push_left_empty_are_sent_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC itself takes an object for present that has the right name."""
    store = pushed_store(root, tmp_path, monkeypatch)
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    empty, missing, *_ = sorted(path for path in before if path.suffix != ".dir")
    dvc_objects.empty_file(empty)
    missing.unlink()
    (root / PUSHED).unlink()
    dvc.push()
    assert not empty.stat().st_size, "DVC sends it itself: verify_remote may go"
    dvc.verify_remote()
    assert {path: path.read_bytes() for path in before} == before

    dvc_objects.empty_file(empty)
    monkeypatch.setattr(dvc_objects, "send_objects", lambda oids: None)
    with pytest.raises(AutoLoraError, match=r"lacks 1 of \d+ objects after they were sent"):
        dvc.verify_remote()


def test_neither_damaged_nor_taken_down_objects_are_sent(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = pushed_store(root, tmp_path, monkeypatch)
    path = min(path for path in store.rglob("*") if path.is_file() and path.suffix != ".dir")
    md5, before = path.parent.name + path.name, path.read_bytes()
    cached = object_path(root, md5)
    cached.chmod(0o644)
    cached.write_bytes(before + b"damaged")
    with pytest.raises(AutoLoraError, match=rf"1 object of DVC's cache, e\.g\. {md5}, .*is damaged here"):
        dvc.verify_remote()
    assert path.read_bytes() == before
    cached.write_bytes(before)
    dvc_objects.empty_file(path)
    taken_down = TakenDown(sha256=frozenset(), md5=frozenset([md5]), is_list_damaged=False)
    monkeypatch.setattr(dvc, "read_taken_down", lambda root: taken_down)
    dvc.verify_remote()
    assert not path.read_bytes()


def test_a_push_that_fails_says_so_and_is_repeated(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    remote = ["dvc", "remote", "add", "-q", "-d", "store"]
    subprocess.run([*remote, str(tmp_path / "file")], check=True, cwd=root)
    dvc.add_batches()
    with pytest.raises(AutoLoraError, match=r"`dvc push` failed: .*Not a directory.*; nothing is lost"):
        dvc.push()
    (tmp_path / "file").unlink()
    assert dvc.push() == 2


def test_sketches_of_a_former_recipe_leave_the_tree_and_stay_in_the_cache(root: Path) -> None:
    dvc.add_batches()
    commit(root)
    for sha256 in SHAS:
        sketch_packs.save_sketch(root, sha256, Sketch(torch.randn(2, 4, 4), torch.ones(2, dtype=torch.bool)))
    sketch_packs.close_packs(root, SHAS, "f" * 16)
    write_digest(root, "pool", {}, 1, recipe="f" * 16)
    dvc.add_batches()
    assert sketch_packs.pack_names(root) == [f"2026-01-05-{'f' * 16}.safetensors"]
    subprocess.run(["git", "stash", "-q", "-u"], check=True, cwd=root)
    subprocess.run(["dvc", "checkout", "-q"], check=True, cwd=root)
    assert sketch_packs.pack_names(root) == [f"2026-01-05-{RECIPE}.safetensors"]


def test_a_batch_that_was_downloaded_again_replaces_a_version_that_no_cache_has(root: Path) -> None:
    dvc.add_batches()
    shutil.rmtree(root / ".dvc/cache")
    assert len(dvc.add_batches()) == 2
    batches.file_path(root, "weights", SHAS[0]).unlink()
    shutil.rmtree(root / ".dvc/cache")
    assert dvc.add_batches() == [f"data/pool/sketches/2026-01-05-{RECIPE}.safetensors.dvc"], "incomplete"


@pytest.mark.parametrize("content", ["", "outs:\n- md5: 12", "{"])
@pytest.mark.parametrize("has_copy", [True, False])
def test_half_written_files_of_dvc_are_restored(root: Path, content: str, has_copy: bool) -> None:
    dvc.add_batches()
    (root / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    commit(root)
    if has_copy:
        dvc.repair_files()
    for name in ("dvc.lock", "data/pool/batches/2026-01-05.dvc", ".dvc/tmp/rwlock"):
        (root / name).write_text(content)
    dvc.repair_files()
    dvc.add_batches()
    subprocess.run(["dvc", "status"], check=True, cwd=root)
    assert subprocess.run(["git", "status", "-s"], capture_output=True, cwd=root).stdout == b""


@pytest.mark.parametrize("program", ["another program", "dvc"])
def test_locks_of_a_killed_dvc_are_released_although_its_number_exists(root: Path, program: str) -> None:
    """Its number is that of a process that nobody has collected, of another program, or of a DVC that runs."""
    batch = str(root / "data/pool/batches/2026-01-05")
    rwlock = root / ".dvc/tmp/rwlock"
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as uncollected,
        subprocess.Popen([sys.executable, "-c", "input()", program], stdin=subprocess.PIPE) as running,
    ):
        os.waitid(os.P_PID, uncollected.pid, os.WEXITED | os.WNOWAIT)
        dead, alive = ({"pid": process.pid, "cmd": "dvc add"} for process in (uncollected, running))
        rwlock.write_text(json.dumps({"write": {batch: dead}, "read": {batch: [dead, alive]}}))
        dvc.repair_files()
        if program == "dvc":
            with pytest.raises(AutoLoraError, match=r"`dvc add` failed: .*is busy, it is being blocked by"):
                dvc.add_batches()
        else:
            assert len(dvc.add_batches()) == 2
        running.communicate(b"\n")


@pytest.mark.long(full=40, sample=3)
def test_a_killed_addition_loses_no_file(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    root = copy_template(template, tmp_path / str(seed), monkeypatch)
    before = weights(root)
    script = "from flows import dvc; dvc.add_batches()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=root, env=environment(), start_new_session=True
    )
    time.sleep(random.Random(seed).uniform(1, 6))
    kill_tree(process.pid)
    process.wait()
    dvc.repair_files()
    dvc.add_batches()
    assert weights(root) == before
    assert batches.is_complete(root, "2026-01-05")
    commit(root)
    shutil.rmtree(root / "data/pool/batches/2026-01-05")
    subprocess.run(["dvc", "checkout", "-q"], check=True, cwd=root)
    assert weights(root) == before


def commit(root: Path) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "add", "-A"], check=True, cwd=root)
    subprocess.run(["git", *identity, "commit", "-q", "-m", "x"], check=True, cwd=root)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def test_a_file_that_a_killed_addition_had_removed_is_put_back(root: Path) -> None:
    before = weights(root)
    dvc._keep_links(root / "data/pool/batches/2026-01-05")
    batches.file_path(root, "weights", SHAS[1]).unlink()
    dvc.repair_files()
    assert weights(root) == before
    assert not (root / "data/pool/adding").exists()


def test_dvc_reads_the_dvc_files_of_batches_and_sketches_and_ignores_their_content() -> None:
    """DVC skips .dvc files in a folder that .gitignore ignores by its own rules, which are not those of git."""
    scm = Repo(str(REPOSITORY)).scm
    for folder, name in (("batches", "2026-01-05"), ("sketches", "2026-01-05-7d64.safetensors")):
        path = f"{REPOSITORY}/data/pool/{folder}"
        assert not scm.is_ignored(f"{path}/") and not scm.is_ignored(f"{path}/{name}.dvc")
        assert scm.is_ignored(f"{path}/{name}")
