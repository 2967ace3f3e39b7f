"""The pool's batches as DVC outputs of their own, the remote, and the files of DVC that a killed process leaves.

A batch or sketch pack is closed by the stage `pool` under `dvc repro`, which holds DVC's lock, so it is given to DVC
afterwards (`dvc add`). `python -m flows.dvc` does that by hand, after a `dvc repro` without a refresh.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Set
from pathlib import Path

import psutil
import yaml

from autolora.errors import AutoLoraError
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import (
    FOLDER_SUFFIX,
    PUSHED,
    added_folders,
    declared_outputs,
    dvc_setting,
    object_path,
    read_list,
    read_lists,
    read_records,
    sizes_in_remote,
)
from autolora.integrity.taken_down import read_taken_down
from autolora.pool import batches, sketch_packs
from autolora.pool import store as pool
from autolora.pool.evicted import evicted_batches
from autolora.storage.files import read_json, write_atomic
from autolora.storage.git import restore_committed
from autolora.storage.incremental import pending
from autolora.storage.lock import exclusive_lock
from autolora.wording import counted
from flows import dvc_process
from flows.stage import ROOT, print_and_log, run

KEPT_LOCK = "cache/dvc.lock"
TARGETS_PER_COMMAND = 500
MAX_NAMED = 3
"""objects that an error names"""


def add_batches(lock_fd: int | None = None) -> list[str]:
    """Give new batches and sketch packs to DVC, and return the paths of their .dvc files.

    Sketch packs of a former recipe leave the working tree; DVC's cache keeps them.
    """
    restore_links()
    targets = [path for path in _versioned_paths() if _must_be_added(path)]
    for start in range(0, len(targets), TARGETS_PER_COMMAND):
        part = targets[start : start + TARGETS_PER_COMMAND]
        for path in part:
            _keep_links(path)
        dvc_process.run(["add", *(str(path.relative_to(ROOT)) for path in part)], lock_fd)
    shutil.rmtree(_links_folder(), ignore_errors=True)
    _drop_former_packs()
    return [str(_dvc_file(path).relative_to(ROOT)) for path in targets]


def push(lock_fd: int | None = None) -> int | None:
    """Push the stages' outputs and all batches that this remote has not received; return the number of batches.

    Without a remote, None is returned. Raises AutoLoraError if the push fails; the next one sends what is missing.
    Nothing is sent to a remote that lacks evicted batches, because DVC takes a folder for complete whose list is there.
    """
    if (url := remote_url()) is None:
        return None
    pushed = read_pushed(url)
    wanted = {str(_dvc_file(path).relative_to(ROOT)): _hash_of(path) for path in _versioned_paths()}
    elsewhere = {str(_dvc_file(path).relative_to(ROOT)): _hash_of(path) for path in _evicted_paths()}
    complete = _received({*wanted.values(), *elsewhere.values()} & {*pushed.values()})
    _check_evicted({*elsewhere.values()} - complete)
    done = {target: md5 for target, md5 in pushed.items() if md5 in complete}
    targets = [target for target, _ in pending(wanted.items(), done.items()).add]
    for start in range(0, max(len(targets), 1), TARGETS_PER_COMMAND):
        stages = _finished_stages() if start == 0 else []
        dvc_process.run(["push", *stages, *targets[start : start + TARGETS_PER_COMMAND]], lock_fd)
    write_atomic(ROOT / PUSHED, json.dumps({"url": url, "targets": wanted | elsewhere}))
    return len(targets)


def verify_remote() -> None:
    """Send the objects of this state again that the default remote lacks, or has with another size.

    `dvc push` leaves an object alone that the remote has by name. If it is killed, it leaves empty ones in a folder
    whose file system has no reflinks; it has also ended without an error and without a large file (iterative/dvc
    #10448). Raises AutoLoraError if the remote is still not whole, or if an object to be sent is damaged here.
    """
    expected = _objects()
    wrong = _wrong_in_remote(expected)
    if wrong:
        print_and_log(
            f"[dvc] sending again what the remote lacks or has damaged: {counted(len(wrong), 'object')}"
        )
        _send(wrong)
        wrong = _wrong_in_remote(expected)
    if wrong:
        (ROOT / PUSHED).unlink(missing_ok=True)
        raise AutoLoraError(
            f"the remote lacks {len(wrong)} of {len(expected)} objects after they were sent, or has them with another "
            f"size, e.g. {', '.join(wrong[:MAX_NAMED])}: the next refresh pushes again, as does `python -m flows.dvc`; "
            "an index that is served here is tagged as a release once the remote has them"
        )


def remote_url() -> str | None:
    """Return the URL of DVC's default remote; None if there is no remote."""
    remote = dvc_setting(ROOT, "core.remote")
    return dvc_setting(ROOT, f"remote.{remote}.url") if remote else None


def read_pushed(url: str) -> dict[str, str]:
    """Return which batches and packs the remote with this URL has received: .dvc file -> md5."""
    record = read_json(ROOT / PUSHED) or {}
    targets: dict[str, str] = record["targets"] if record.get("url") == url else {}
    return targets


def repair_files() -> None:
    """Restore the files of DVC that a killed process left half-written.

    DVC writes dvc.lock, .dvc files and its list of locks in place. A damaged dvc.lock is replaced by its state at the
    last call, or the committed one, after which DVC runs the stages that have changed since; a damaged .dvc file is
    written again by `add_batches`, and that of an evicted batch is the committed one.
    """
    lock, kept, rwlock = ROOT / "dvc.lock", ROOT / KEPT_LOCK, ROOT / ".dvc" / "tmp" / "rwlock"
    if lock.exists() and _is_mapping(lock):
        write_atomic(kept, lock.read_bytes())
    elif lock.exists():
        lock.unlink()
        if kept.exists():
            write_atomic(lock, kept.read_bytes())
        else:
            restore_committed(ROOT, "dvc.lock")
    if rwlock.exists() and not (_is_mapping(rwlock) and _is_held(rwlock)):
        rwlock.unlink()
    for path in _dvc_files():
        if not _is_mapping(path):
            path.unlink()
            if not path.with_suffix("").exists():
                restore_committed(ROOT, str(path.relative_to(ROOT)))
    restore_links()


def restore_links() -> None:
    """Put back the files of a batch that a killed `dvc add` has removed.

    DVC replaces each file by a link to its cache, and a process that is killed in between leaves the file out. So
    `add_batches` links all files to a second folder before.
    """
    kept = _links_folder()
    for source in [path for path in kept.rglob("*") if path.is_file()]:
        target = pool.folder(ROOT) / source.relative_to(kept)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    shutil.rmtree(kept, ignore_errors=True)


def _versioned_paths() -> Iterator[Path]:
    """Yield the batches and the sketch packs on disk, each of which is a DVC output of its own."""
    yield from (batches.batches_folder(ROOT) / name for name in batches.batch_names(ROOT))
    yield from (sketch_packs.packs_folder(ROOT) / name for name in sketch_packs.pack_names(ROOT))


def _evicted_paths() -> Iterator[Path]:
    yield from (batches.batches_folder(ROOT) / name for name in evicted_batches(ROOT))


def _received(pushed: Set[str]) -> Set[str]:
    """Return which of these objects, each a pack or the list of a batch that was pushed, the remote still has.

    A list is sent last, so the files are there too. Another remote of the same URL has none: another server, or a
    folder that is not mounted.
    """
    return sizes_in_remote(ROOT, pushed).keys() if pushed else set()


def _check_evicted(lists: Set[str]) -> None:
    """Raise AutoLoraError if the remote lacks objects of evicted batches that are not here either; send those that are.

    lists: md5 of the lists of their files.
    """
    if not lists:
        return
    found = read_lists(ROOT, lists)
    wanted = {*lists, *(md5 for files in found.values() for md5 in files.values())}
    lacking = wanted - sizes_in_remote(ROOT, wanted).keys()
    if lost := {md5 for md5 in lacking if not object_path(ROOT, md5).exists()}:
        raise AutoLoraError(
            f"DVC's default remote lacks {len(lost)} of {len(wanted)} objects of evicted batches, e.g. {min(lost)}, "
            "and nothing was sent: mount it or correct its settings; if it is another remote than before, copy the "
            "objects of the former one into it, or name the former one again (`dvc remote default NAME`); then run "
            "`python -m flows.dvc`; if it is the right one and has lost them: `autolora verify` names the command"
        )
    if lacking:
        _send(lacking)


def _send(md5s: Collection[str]) -> None:
    """Send objects of DVC's cache, over what the remote has; raise AutoLoraError, and send none, if one is damaged."""
    reader = ContentReader()
    damaged = [
        md5 for md5 in md5s if not reader.has_md5(object_path(ROOT, md5), md5.removesuffix(FOLDER_SUFFIX))
    ]
    if damaged:
        raise AutoLoraError(
            f"{counted(len(damaged), 'object')} of DVC's cache, e.g. {damaged[0]}, which the remote lacks or has with "
            "another size, is damaged here, and nothing was sent: run `autolora verify`, which names the command that "
            "mends it, then `python -m flows.dvc`"
        )
    from flows.dvc_objects import send_objects  # here, because importing DVC takes a second

    send_objects(md5s)


def _wrong_in_remote(expected: Mapping[str, int]) -> list[str]:
    """Return the md5 of the objects that the default remote lacks, or has with another size. expected: md5 -> bytes."""
    found = sizes_in_remote(ROOT, expected)
    return [md5 for md5, size in expected.items() if found.get(md5) != size]


def _objects() -> dict[str, int]:
    """Return md5 -> bytes of all objects of this state that DVC's cache has, without those that were taken down."""
    md5s: set[str] = set()
    for output in read_records(ROOT).outputs:
        if output.in_cache:
            files = read_list(object_path(ROOT, output.md5), output.md5) if output.is_folder else None
            md5s |= {output.md5, *(files or {}).values()}
    paths = ((md5, object_path(ROOT, md5)) for md5 in md5s - read_taken_down(ROOT).md5)
    return {md5: path.stat().st_size for md5, path in paths if path.exists()}


def _dvc_files() -> list[Path]:
    return sorted(path for folder in added_folders(ROOT) for path in folder.glob("*.dvc"))


def _dvc_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.dvc")


def _must_be_added(path: Path) -> bool:
    """Return whether DVC has no version of this path.

    In a clone that downloaded a batch from the hubs, the committed .dvc file may name an object that no cache has,
    because re-encoded images and sketches may differ between machines. It is replaced if the batch is complete.
    """
    if not _dvc_file(path).exists():
        return True
    return not _is_cached(path) and (not path.is_dir() or batches.is_complete(ROOT, path.name))


def _is_cached(path: Path) -> bool:
    """Return whether DVC's cache has the version of a path; of an evicted batch it has the list of files alone."""
    md5 = _hash_of(path)
    files = read_list(object_path(ROOT, md5), md5) if path.is_dir() else {}
    return files is not None and all(object_path(ROOT, each).exists() for each in (md5, *files.values()))


def _hash_of(path: Path) -> str:
    """Return the md5 that the .dvc file of a path names; of a folder it ends with .dir."""
    md5: str = yaml.safe_load(_dvc_file(path).read_text())["outs"][0]["md5"]
    return md5


def _keep_links(path: Path) -> None:
    """Link the files of a batch or pack to a second folder; copy them on a file system without hard links."""
    target = _links_folder() / path.relative_to(pool.folder(ROOT))
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link)
    else:
        _link(str(path), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _links_folder() -> Path:
    return pool.folder(ROOT) / "adding"


def _drop_former_packs() -> None:
    """Remove the packs of other recipes than the pool's, with their .dvc files, if DVC's cache has them."""
    recipe = sketch_packs.current_recipe(ROOT)
    for name in sketch_packs.pack_names(ROOT):
        path = sketch_packs.packs_folder(ROOT) / name
        if recipe and sketch_packs.recipe_of(name) != recipe and _is_cached(path):
            path.unlink()
            _dvc_file(path).unlink()


def _finished_stages() -> list[str]:
    """Return the stages that have outputs in DVC's cache."""
    lock = ROOT / "dvc.lock"
    finished = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    keeping = {name for name, _, is_cached in declared_outputs(ROOT) if is_cached}
    return [name for name in finished if name in keeping]


def _is_mapping(path: Path) -> bool:
    """Return whether a YAML or JSON file is complete: a mapping that ends with a line feed or a brace."""
    try:
        text = path.read_text()
        return isinstance(yaml.safe_load(text), dict) and text.endswith(("\n", "}"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False


def _is_held(rwlock: Path) -> bool:
    """Return whether a DVC command that runs has one of DVC's locks.

    DVC itself asks whether a process of that number exists. One does if the killed process was not collected by its
    parent, or if another process got its number after a restart, and then every later command fails.
    """
    locks = json.loads(rwlock.read_text())
    holders = [
        *locks.get("write", {}).values(),
        *(info for infos in locks.get("read", {}).values() for info in infos),
    ]
    return any(_is_dvc(int(holder["pid"])) for holder in holders)


def _is_dvc(pid: int) -> bool:
    try:
        return any("dvc" in argument for argument in psutil.Process(pid).cmdline())
    except psutil.Error:
        return False


def dvc() -> None:
    """Give the pool's new batches and sketch packs to DVC; push them, and what the remote has lost, if there is one."""
    with exclusive_lock(ROOT) as lock_fd:
        repair_files()
        added, pushed = add_batches(lock_fd), push(lock_fd)
        if pushed is not None:
            verify_remote()
    print(f"[dvc] batches and sketch packs: {len(added)} added, {pushed or 0} pushed")


if __name__ == "__main__":
    run(dvc, guard=False)
