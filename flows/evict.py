"""Eviction: batches that the remote holds leave this disk, the least recently used first (`storage.keep_local_gb`).

A refresh evicts after each push; `python -m flows.evict` does it by hand. A batch leaves only if DVC's default remote
has each of its objects with the size of the file here. Its folder is first moved to data/pool/evicting/, from which a
run completes what a killed one has left; so a batch is either here as a whole, or evicted. The list of its files stays
in DVC's cache. `python -m flows.evict BATCH…` brings back what is left of batches of which the remote has lost files,
since `dvc pull` of a batch restores all of its files or none.
"""

import argparse
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from autolora.errors import AutoLoraError, DiskFull
from autolora.integrity.dvc_records import (
    Output,
    object_path,
    read_list,
    read_lists,
    read_records,
    sizes_in_remote,
)
from autolora.pool import evicted
from autolora.pool import store as pool
from autolora.pool.batches import batches_folder
from autolora.storage.files import GB
from autolora.storage.git import blob_hash, committed_blobs
from autolora.storage.lock import exclusive_lock
from autolora.web.thumbnails import CARD_PX, Thumbnails
from autolora.wording import counted
from flows import dvc, dvc_process
from flows.stage import ROOT, print_and_log, run


def evict_batches() -> list[str]:
    """Evict batches until the others are within their share of the disk, and return the names of those that left.

    Raises MissingArtifact if the remote cannot be asked.
    """
    limit = evicted.limit_bytes(ROOT)
    finish_evictions()
    if limit is None or dvc.remote_url() is None:
        return []
    outputs = dict(_batches_here())
    sizes = {name: _local_size(name, output) for name, output in outputs.items()}
    excess, left = sum(sizes.values()) - limit * (1 - evicted.FETCHED_SHARE), []
    for name in sorted(sizes, key=lambda name: evicted.last_use(ROOT, name)):
        if excess <= 0:
            break
        if not evicted.is_in_use(ROOT, name) and _is_held(name, outputs[name]) and _move_out(name):
            left.append(name)
            excess -= sizes[name]
    finish_evictions()
    if left:
        gigabytes = sum(sizes[name] for name in left) / GB
        print_and_log(
            f"[evict] {counted(len(left), 'batch', 'batches')} of {gigabytes:,.3g} GB, from {left[0]} on, are in DVC's "
            "remote only"
        )
    if excess > 0:
        print_and_log(
            f"[evict] {excess / GB:,.3g} GB beyond three quarters of storage.keep_local_gb stay here: used "
            "just now, or named above"
        )
    return left


def finish_evictions() -> None:
    """Complete the evictions that a killed process has left; a batch that was fetched again since stays."""
    folders = [*_leaving_folder().glob("*")]
    if names := {folder.name for folder in folders if not (batches_folder(ROOT) / folder.name).exists()}:
        _remove_objects(names)
    for folder in folders:
        shutil.rmtree(folder)


def bring_back(names: Sequence[str], lock_fd: int | None) -> None:
    """Pull the files that the remote has of evicted batches, which are here then, without those that it has lost.

    Raises AutoLoraError if a pull fails or a name is unknown, MissingArtifact if the remote cannot be asked.
    """
    finish_evictions()
    outputs = {
        Path(output.path).name: output for output in read_records(ROOT).outputs if output.stage is None
    }
    for name in names:
        if (output := outputs.get(name)) is None:
            raise AutoLoraError(
                f"DVC has no version of a batch {name}: give the name that `autolora verify` prints"
            )
        files = read_lists(ROOT, [output.md5]).get(output.md5, {})
        held = sizes_in_remote(ROOT, files.values())
        left = [f"{output.path}/{path}" for path, md5 in files.items() if held.get(md5)]
        for start in range(0, len(left), dvc.TARGETS_PER_COMMAND):
            dvc_process.run(["pull", *left[start : start + dvc.TARGETS_PER_COMMAND]], lock_fd)
        (ROOT / output.path).mkdir(exist_ok=True)


def _batches_here() -> Iterator[tuple[str, Output]]:
    """Yield name and version of the closed batches on disk that DVC has a version of."""
    for output in read_records(ROOT).outputs:
        path = ROOT / output.path
        if path.parent == batches_folder(ROOT) and path.is_dir():
            yield path.name, output


def _list_of(output: Output) -> Mapping[str, str]:
    """Return path -> md5 of the files of a folder; empty if DVC's cache lacks its list."""
    return read_list(object_path(ROOT, output.md5), output.md5) or {}


def _local_size(name: str, output: Output) -> int:
    """Return the bytes of a batch in the working tree and DVC's cache, links counted once."""
    files = [
        (batches_folder(ROOT) / name / path, object_path(ROOT, md5)) for path, md5 in _list_of(output).items()
    ]
    inodes = {
        (status.st_dev, status.st_ino): status.st_size
        for status in (path.stat() for pair in files for path in pair if path.exists())
    }
    return sum(inodes.values())


def _is_held(name: str, output: Output) -> bool:
    """Return whether the remote has each object of a batch, with the size of the file here, and git the .dvc file."""
    folder, files = batches_folder(ROOT) / name, _list_of(output)
    committed = committed_blobs(ROOT, output.target).get(output.target)
    if committed is None or blob_hash((ROOT / output.target).read_bytes(), committed) != committed:
        print_and_log(
            f"[evict] batch {name} stays: commit {output.target} first, which alone says what the remote has"
        )
        return False
    try:
        wanted = {md5: (folder / path).stat().st_size for path, md5 in files.items()}
        wanted[output.md5] = object_path(ROOT, output.md5).stat().st_size
    except FileNotFoundError as error:
        print_and_log(f"[evict] batch {name} stays: {error.filename} is missing, see `autolora verify`")
        return False
    found = sizes_in_remote(ROOT, wanted)
    if lacking := sum(found.get(md5) != size for md5, size in wanted.items()):
        print_and_log(
            f"[evict] batch {name} stays: DVC's remote lacks {lacking} of its {counted(len(wanted), 'object')}, or has "
            "them with another size: `python -m flows.dvc` sends them again"
        )
    return not lacking


def _move_out(name: str) -> bool:
    """Begin the eviction of a batch, and return whether it did: not if the batch is used by now.

    Small copies of its images, which stay, are made before.
    """
    folder, leaving = batches_folder(ROOT) / name, _leaving_folder() / name
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        for _ in executor.map(_make_card, (path.stem for path in (folder / "renderings").glob("*"))):
            pass
    leaving.parent.mkdir(exist_ok=True)
    if is_free := not evicted.is_in_use(ROOT, name):
        folder.rename(leaving)
    return is_free


def _make_card(image: str) -> None:
    """Make the small copy of an image; not on a full disk, of which the eviction is to free some."""
    with suppress(DiskFull):
        Thumbnails(ROOT).load(image, CARD_PX)


def _remove_objects(names: Collection[str]) -> None:
    """Remove the objects of batches from DVC's cache; those that an output needs which is kept here stay."""
    objects, kept = set[str](), set[str]()
    for output in read_records(ROOT).outputs:
        if output.in_cache:
            path = ROOT / output.path
            leaves = path.parent == batches_folder(ROOT) and path.name in names
            if leaves or path.exists():
                md5s = {*_list_of(output).values()} if output.is_folder else {output.md5}
                (objects if leaves else kept).update(md5s)
    for md5 in objects - kept:
        object_path(ROOT, md5).unlink(missing_ok=True)


def _leaving_folder() -> Path:
    return pool.folder(ROOT) / "evicting"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m flows.evict", description="Evict batches, or bring some back."
    )
    parser.add_argument(
        "names", nargs="*", metavar="BATCH", help="brought back; none: evict beyond the limit"
    )
    given = parser.parse_args()

    def evict() -> None:
        """Give new batches to DVC, push, and evict the batches beyond storage.keep_local_gb that DVC's remote holds."""
        with exclusive_lock(ROOT) as lock_fd:
            dvc.repair_files()
            if given.names:
                bring_back(given.names, lock_fd)
            else:
                dvc.add_batches(lock_fd)
                dvc.push(lock_fd)
                evict_batches()

    run(evict, guard=False, parse=False)
