"""Evicting batches, and reading files that lie in the remote only, with real git and DVC repositories and remotes."""

import datetime
import hashlib
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.repo import Repo  # type: ignore[import-untyped]

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.errors import AutoLoraError, DiskFull, MissingArtifact
from autolora.integrity import dvc_records
from autolora.integrity.dvc_records import PUSHED
from autolora.pool import batches, evicted
from autolora.pool import store as pool
from autolora.report.images import CARD_PX
from autolora.storage.files import GB
from autolora.web.thumbnails import DETAILS_PX, Thumbnails
from flows import dvc, dvc_objects, dvc_process, evict, git, prune, remote_objects, takedown
from playground.repository import IDENTITY, kill_tree
from tests.support import killing
from tests.support.s3 import s3_server
from tests.support.tiny_pool import encoded_image

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
DAYS = [datetime.date(2026, 1, day) for day in (5, 6, 7, 8)]
NAMES = [day.isoformat() for day in DAYS]
FILES_PER_BATCH, BYTES = 3, 100_000
LIMIT_GB = 2.5 * FILES_PER_BATCH * BYTES / (1 - evicted.FETCHED_SHARE) / GB
"""two batches, and as many single files as fit into a quarter"""
MODULES = (dvc, dvc_process, dvc_objects, evict, git, prune, takedown)
LAST_CALL = 35
"""number of the call before which an eviction is killed at the latest"""

Contents = dict[tuple[str, str], bytes]
"""kind and sha256 -> content"""


def run(root: Path, *command: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True)
    assert not done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a repository `repo` of four closed batches that DVC has, and nothing pushed; to be copied."""
    folder = tmp_path_factory.mktemp("template")
    root = folder / "repo"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in IDENTITY.items():
            patch.setenv(name, value)
        run(root, "git", "init", "-q", "-b", "main")
        run(root, "dvc", "init", "-q")
        for name in (".gitignore", ".dvcignore"):
            shutil.copy(REPOSITORY / name, root / name)
        shutil.copy(REPOSITORY / "params.yaml", root / "params.yaml")
        set_limit(root, LIMIT_GB)
        run(root, "dvc", "config", "cache.type", "hardlink,symlink,copy")
        run(root, "dvc", "remote", "add", "-q", "-d", "store", "../../store")
        (root / "dvc.yaml").write_text("stages: {}\n")
        for number, day in enumerate(DAYS):
            close_batch(root, number, day)
        enter(root, patch)
        dvc.add_batches()
        run(root, "git", "add", "-A")
        run(root, "git", "commit", "-q", "-m", "x")
        yield folder


def close_batch(root: Path, number: int, day: datetime.date, size: int = BYTES) -> None:
    rng, wanted = random.Random(number), dict[str, list[str]](weights=[], renderings=[])
    for kind, number_of_files in (("weights", FILES_PER_BATCH), ("renderings", 1)):
        for _ in range(number_of_files):
            content = rng.randbytes(size) if kind == "weights" else encoded_image(40, (16 + number, 12))
            sha256 = hashlib.sha256(content).hexdigest()
            path = batches.file_path(root, kind, sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            wanted[kind].append(sha256)
    batches.close(root, wanted, day)
    batches.remove_open(root)
    used(root, day.isoformat(), day.day)


def set_limit(root: Path, limit_gb: float | None) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["storage"]["keep_local_gb"] = limit_gb
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def used(root: Path, name: str, day: int) -> None:
    """Make a day the time of the last use of a batch."""
    marker = root / "cache/batches" / name
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for path in (marker, batches.batches_folder(root) / name):
        os.utime(path, (day, day))


def enter(root: Path, patch: pytest.MonkeyPatch) -> Path:
    """Make a repository the current one, which the flows take for theirs."""
    for module in MODULES:
        patch.setattr(module, "ROOT", root)
    patch.chdir(root)
    return root


def copy(template: Path, folder: Path, patch: pytest.MonkeyPatch) -> Path:
    subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
    patch.setenv("PYTHONPATH", str(REPOSITORY))
    run(folder / "repo", "dvc", "remote", "modify", "store", "url", str(folder / "store"))
    return enter(folder / "repo", patch)


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository; nothing is pushed yet."""
    return copy(template, tmp_path / "copy", monkeypatch)


@pytest.fixture
def contents(template: Path) -> Contents:
    """What each file of the pool contains."""
    root = template / "repo"
    return {
        (kind, sha256): batches.file_path(root, kind, sha256).read_bytes()
        for kind, files in batches.members(root).items()
        for sha256 in files
    }


def read(root: Path, wanted: Contents) -> Contents:
    """Return the same files, as any stage reads them; those of the remote are fetched in one process per kind."""
    for kind in batches.SUFFIXES:
        evicted.fetch(root, kind, [sha256 for other, sha256 in wanted if other == kind])
    return {key: evicted.local_path(root, *key).read_bytes() for key in wanted}


def local_bytes(root: Path) -> int:
    """Return the bytes of batches, fetched files and objects on this disk; links count once."""
    folders = ("data/pool/batches", "data/pool/evicting", "cache/fetched", ".dvc/cache/files")
    files = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return sum({path.stat().st_ino: path.stat().st_size for path in files if path.suffix != ".dir"}.values())


def test_the_least_recently_used_batches_leave_once_the_remote_has_them(
    root: Path, contents: Contents
) -> None:
    used(root, NAMES[0], 9)
    (root.parent / "store").mkdir()
    assert evict.evict_batches() == [], "nothing is pushed yet"
    dvc.push()
    assert evict.evict_batches() == NAMES[1:3]
    assert batches.batch_names(root) == [NAMES[0], NAMES[3]]
    assert evicted.evicted_batches(root) == NAMES[1:3]
    assert local_bytes(root) <= LIMIT_GB * GB
    assert evict.evict_batches() == []
    assert dvc.add_batches() == [] and dvc.push() == 0
    assert {key: evicted.has_content(root, *key) for key in contents} == dict.fromkeys(contents, True)
    assert evicted.stored_files(root, "weights") == {sha256 for kind, sha256 in contents if kind == "weights"}
    assert not evicted.fetched_folder(root).exists()
    assert read(root, contents) == contents
    assert run(root, "git", "status", "-s", "data") == ""


def test_nothing_leaves_that_is_used_now_or_that_the_remote_lacks(
    root: Path, contents: Contents, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.push()
    store = root.parent / "store/files/md5"
    evicted.local_path(root, "weights", next(iter(batches.members(root)["weights"])))  # of the first batch
    damaged = next(path for path in files_of(root, NAMES[1]) if path.suffix == ".safetensors")
    in_store = store / (md5 := hashlib.md5(damaged.read_bytes()).hexdigest())[:2] / md5[2:]
    dvc_objects.empty_file(in_store)
    next(files_of(root, NAMES[2])).unlink()
    assert evict.evict_batches() == [NAMES[3]]
    text = capsys.readouterr().out
    assert f"batch {NAMES[1]} stays: DVC's remote lacks 1 of its 5 objects" in text
    assert f"batch {NAMES[2]} stays: " in text and "is missing" in text
    set_limit(root, None)
    assert evict.evict_batches() == []


def files_of(root: Path, name: str) -> Iterator[Path]:
    yield from sorted(path for path in (batches.batches_folder(root) / name).rglob("*") if path.is_file())


def test_a_batch_whose_version_git_does_not_know_stays(root: Path) -> None:
    run(root, "git", "rm", "-q", "--cached", f"data/pool/batches/{NAMES[0]}.dvc")
    run(root, "git", "commit", "-q", "-m", "without one")
    dvc.push()
    assert evict.evict_batches() == NAMES[1:3]
    path = root / f"data/pool/batches/{NAMES[1]}.dvc"
    content = path.read_text()
    path.write_text(content[:20])
    dvc.repair_files()
    assert path.read_text() == content and evicted.is_evicted(root, NAMES[1])


def test_without_a_remote_nothing_leaves(root: Path) -> None:
    run(root, "dvc", "remote", "remove", "store")
    assert evict.evict_batches() == []


def test_fetched_files_are_within_their_share_of_the_disk(root: Path, contents: Contents) -> None:
    set_limit(root, LIMIT_GB / 2.5)  # one batch, and one fetched file
    dvc.push()
    evict.evict_batches()
    keys = [key for key in contents if key[0] == "weights" and evicted.is_remote_only(root, *key)]
    for number, key in enumerate(keys):
        path = evicted.local_path(root, *key)
        assert path.read_bytes() == contents[key]
        os.utime(path, (number, number))  # not used just now
    left = list(evicted.fetched_folder(root).glob("*/*"))
    assert left == [evicted.fetched_path(root, *keys[-1])]
    assert local_bytes(root) <= LIMIT_GB / 2.5 * GB + BYTES


def test_a_remote_that_is_away_is_named_and_nothing_is_lost(root: Path, contents: Contents) -> None:
    dvc.push()
    evict.evict_batches()
    store, away = root.parent / "store", root.parent / "away"
    store.rename(away)
    key = next(key for key in contents if evicted.is_remote_only(root, *key))
    with pytest.raises(
        MissingArtifact, match=r"lies in DVC's remote only.*could not be fetched \(.*autolora doctor"
    ):
        pool.weights_path(root, key[1])
    used(root, NAMES[2], 1)
    set_limit(root, LIMIT_GB / 100)
    with pytest.raises(MissingArtifact, match=r"the folder .*store does not exist: mount it"):
        evict.evict_batches()
    away.rename(store)
    assert len(evict.evict_batches()) == 2
    assert read(root, contents) == contents


def test_a_remote_that_lacks_evicted_batches_is_not_taken_for_complete(root: Path, tmp_path: Path) -> None:
    dvc.push()
    evict.evict_batches()
    run(root, "dvc", "remote", "add", "-q", "-d", "other", str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    with pytest.raises(AutoLoraError, match=r"lacks \d+ of \d+ objects of evicted batches"):
        dvc.push()
    shutil.copytree(root.parent / "store", tmp_path / "other", dirs_exist_ok=True)
    assert dvc.push() is not None
    (root / PUSHED).unlink()
    shutil.rmtree(root / ".dvc/cache")  # the lists too, as in a clone
    assert dvc.push() is not None


def test_nothing_is_sent_to_an_empty_remote_of_the_same_url(root: Path, contents: Contents) -> None:
    """Such as another server, or a folder that is not mounted: a list without its files would be taken for complete."""
    dvc.push()
    dvc.verify_remote()
    evict.evict_batches()
    store, away = root.parent / "store", root.parent / "away"
    store.rename(away)
    store.mkdir()
    with pytest.raises(AutoLoraError, match=r"objects of evicted batches.*nothing was sent: mount it"):
        dvc.push()
    assert not [path for path in store.rglob("*") if path.is_file()]
    store.rmdir()
    away.rename(store)
    assert dvc.push() == 0
    assert read(root, contents) == contents


def test_asking_for_sizes_leaves_a_damaged_object_in_a_folder_remote(root: Path) -> None:
    dvc.push()
    path = next(path for path in (root.parent / "store").rglob("*") if path.is_file() and not path.suffix)
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    md5 = path.parent.name + path.name
    assert dvc_records.sizes_in_remote(root, [md5, "0" * 32]) == {md5: 7}
    assert path.read_bytes() == b"damaged"


def test_a_full_disk_is_not_the_remotes_fault(root: Path) -> None:
    day, size = datetime.date(2026, 1, 2), 4_000_000
    close_batch(root, 9, day, size)
    dvc.add_batches()
    run(root, "git", "add", "-A")
    run(root, "git", "commit", "-q", "-m", "x")
    dvc.push()
    assert day.isoformat() in evict.evict_batches()
    name = next(name for name, batch in batches.members(root)["weights"].items() if batch == day.isoformat())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))  # stands for the disk's end
    try:
        with pytest.raises(DiskFull, match=r"disk of .*fetched is full"):
            pool.weights_path(root, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(evicted.fetched_folder(root).glob("*/*"))
    assert pool.weights_path(root, name).stat().st_size == size


def test_a_fresh_clone_needs_no_batch(
    root: Path, contents: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    dvc.push()
    clone = root.parent / "clone"
    run(root, "git", "clone", "-q", str(root), str(clone))
    run(clone, "dvc", "remote", "modify", "store", "url", str(root.parent / "store"))
    enter(clone, monkeypatch)
    assert evicted.evicted_batches(clone) == NAMES
    assert read(clone, contents) == contents
    assert batches.batch_names(clone) == []


def test_thumbnails_stay(root: Path, contents: Contents) -> None:
    dvc.push()
    set_limit(root, LIMIT_GB / 100)
    evict.evict_batches()
    (root.parent / "store").rename(root.parent / "away")
    images, thumbnails = [sha256 for kind, sha256 in contents if kind == "renderings"], Thumbnails(root)
    assert images and all(thumbnails.load(image, CARD_PX) for image in images)
    assert thumbnails.size(images[0])
    assert thumbnails.load(images[0], DETAILS_PX) == thumbnails.load(images[0], CARD_PX)
    (root.parent / "away").rename(root.parent / "store")
    assert thumbnails.load(images[0], DETAILS_PX) != thumbnails.load(images[0], CARD_PX)


def test_a_takedown_reaches_evicted_batches_and_fetched_files(root: Path, contents: Contents) -> None:
    dvc.push()
    evict.evict_batches()
    kind, sha256 = key = next(key for key in contents if evicted.is_remote_only(root, *key))
    path = evicted.local_path(root, *key)
    row = Takedown(kind=kind, sha256=sha256, hub="", id="", file="", reason="test", date=DAYS[0], md5=())
    erased = takedown.Erasure(Takedowns((row,))).apply()
    assert {copy.place for copy in erased} == {"cache/fetched", "remote store"}
    assert not path.exists() and not evicted.has_content(root, *key)
    assert takedowns.read(root).lists("weights", sha256)
    assert pool.weights_path(root, sha256).read_bytes() == b""
    others = {other: content for other, content in contents.items() if other != key}
    assert read(root, others) == others


def test_a_takedown_while_the_remote_is_away_reaches_it_with_the_next_push(
    root: Path, contents: Contents
) -> None:
    dvc.push()
    evict.evict_batches()
    kind, sha256 = key = next(key for key in contents if evicted.is_remote_only(root, *key))
    store, away = root.parent / "store", root.parent / "away"
    store.rename(away)
    row = Takedown(kind=kind, sha256=sha256, hub="", id="", file="", reason="test", date=DAYS[0], md5=())
    with pytest.raises(AutoLoraError, match="takedown is not complete"):
        takedown.Erasure(Takedowns((row,))).apply()
    away.rename(store)
    takedown.Erasure(Takedowns((row,))).apply()  # as its documentation says
    assert dvc.push() == 0
    shutil.rmtree(root / ".dvc/cache")  # the list of the batch is in the remote
    others = {other: content for other, content in contents.items() if evicted.is_remote_only(root, *other)}
    assert read(root, others) == others | {key: b""}


def test_prune_keeps_evicted_batches_in_the_remote(root: Path, contents: Contents) -> None:
    run(root.parent, "git", "init", "-q", "--bare", "origin")
    run(root, "git", "remote", "add", "origin", "../origin")
    run(root, "git", "push", "-q", "-u", "origin", "main")
    dvc.push()
    evict.evict_batches()
    prune.prune_all(1, 30, with_remote=True, is_applied=True)
    assert read(root, contents) == contents


def test_s3(root: Path, contents: Contents, tmp_path: Path) -> None:
    with s3_server(tmp_path / "server", "pool") as server:
        run(root, "dvc", "remote", "add", "-q", "-d", "-f", "cloud", "s3://pool/store")
        for name, value in server.remote_settings().items():
            run(root, "dvc", "remote", "modify", "--local", "cloud", name, value)
        dvc.push()
        assert evict.evict_batches() == NAMES[:2]
        assert read(root, contents) == contents
        expected = dvc._objects()
        remote, md5s = Repo(str(root)).cloud.get_remote_odb(), [*expected, "0" * 32]
        assert remote_objects.find_sizes(remote, md5s) == expected
        assert remote_objects.find_sizes(remote, md5s, listed_from=1) == expected


def push_and_evict(root: Path, point: int) -> None:
    """Push and evict in a process of its own, killed before the `point`-th removal, renaming or start of a process."""
    calls = itertools.count(1)

    def killing_at(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) == point:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for module in MODULES:
        module.ROOT = root  # type: ignore[attr-defined]
    os.chdir(root)
    for owner, name in ((os, "unlink"), (os, "rename"), (os, "replace"), (os, "rmdir"), (subprocess, "run")):
        setattr(owner, name, killing_at(getattr(owner, name)))
    dvc.push()
    evict.evict_batches()


@pytest.mark.long(full=100, sample=4)
def test_a_killed_push_or_eviction_loses_nothing(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Half of the kills come before a change, half at any time, so that they also hit `dvc push`."""
    root, rng = copy(template, tmp_path / str(seed), monkeypatch), random.Random(seed)
    contents = read(
        root, dict.fromkeys(((k, s) for k, files in batches.members(root).items() for s in files), b"")
    )
    for name in NAMES:
        used(root, name, 1)
    if seed % 2:
        assert killing.kill(push_and_evict, root, rng.randint(1, LAST_CALL))
    else:
        script = "from flows import dvc, evict; dvc.push(); evict.evict_batches()"
        process = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
        time.sleep(rng.uniform(1, 9))
        kill_tree(process.pid)
        process.wait()
    assert read(root, contents) == contents, "before anything is mended"
    dvc.repair_files()
    for name in NAMES:
        if (batches.batches_folder(root) / name).exists():
            used(root, name, 1)
    dvc.push()
    dvc.verify_remote()
    evict.evict_batches()
    assert len(evicted.evicted_batches(root)) == 2 and not list((root / "data/pool/evicting").glob("*"))
    shutil.rmtree(evicted.fetched_folder(root), ignore_errors=True)
    assert local_bytes(root) <= LIMIT_GB * GB
    assert read(root, contents) == contents
    assert dvc.add_batches() == [] and json.loads((root / PUSHED).read_text())["targets"]
    shutil.rmtree(root.parent)
