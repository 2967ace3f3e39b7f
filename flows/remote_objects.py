"""`python -m flows.remote_objects sizes|texts`: ask DVC's default remote for objects; `write URL`: try to write to it.

Reads a JSON list of md5 from standard input, and prints a JSON object of those that the remote holds: md5 -> bytes, or
md5 -> text. A process of its own, because importing DVC takes a second.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from dvc.repo import Repo  # type: ignore[import-untyped]  # DVC has no type hints
from dvc_objects.fs.base import ObjectFileSystem

FOLDERS = 256
"""number of folders that DVC spreads objects over, by the first two digits of their md5"""
LISTED_FROM = 1000
"""so many objects or more are looked up in lists of an object store, a thousand per answer, instead of one by one"""
LISTED_SHARE = 1 / 20
"""of the objects of a store: if fewer are asked for, a list costs more"""


def main() -> None:
    """Answer for the objects in standard input; exit with a message if the remote is a folder that does not exist."""
    with Repo() as repo:
        if sys.argv[1] == "write":
            return try_to_write(repo, sys.argv[2])
        remote = repo.cloud.get_remote_odb()
        folder = remote.fs.parent(remote.fs.parent(remote.path))  # without files/md5
        if remote.fs.protocol == "local" and not remote.fs.exists(folder):
            sys.exit(
                f"ERROR: the folder {folder} does not exist: mount it, or create it if nothing was pushed to it yet"
            )
        md5s = json.load(sys.stdin)
        found = find_sizes(remote, md5s) if sys.argv[1] == "sizes" else read_texts(remote, md5s)
        print(json.dumps(found))


def try_to_write(repo: Repo, pushed_to: str) -> None:
    """Write a small file to the default remote and remove it; do nothing without a remote.

    Prints the remote's name when it begins to ask. pushed_to: URL of the remote that has received batches, whose folder
    is not made if it is missing.
    """
    name = repo.config["core"].get("remote")
    if name is None:
        return
    store = repo.cloud.get_remote_odb()
    if isinstance(store.fs, ObjectFileSystem):
        _ = store.fs.fs  # imports the client of the object store
    print(name, flush=True)
    if str(repo.config["remote"][name]["url"]) == pushed_to and not store.fs.exists(store.path):
        sys.exit(f"{store.path}, to which batches were pushed, is not there: is it mounted?")
    store.fs.makedirs(store.path, exist_ok=True)
    path = store.fs.join(store.path, f"autolora-{uuid4().hex}")
    store.fs.pipe_file(path, b"autolora doctor")
    store.fs.remove(path)


def find_sizes(remote: Any, md5s: Sequence[str], listed_from: int = LISTED_FROM) -> dict[str, int]:
    """Return md5 -> bytes of the objects that a remote holds; remote: DVC's HashFileDB.

    DVC's own `oids_exist` does not serve: it removes damaged objects from a remote that is a folder.
    """
    if len(md5s) >= listed_from and isinstance(remote.fs, ObjectFileSystem):
        in_store = FOLDERS * len(remote.fs.fs.find(remote.oid_to_path("00")))
        if len(md5s) >= LISTED_SHARE * in_store:
            return _sizes_by_lists(remote, md5s)
    return _sizes_one_by_one(remote, md5s)


def read_texts(remote: Any, md5s: Sequence[str]) -> dict[str, str]:
    """Return md5 -> content of the objects that a remote holds, each of them a text."""
    found = {}
    for md5 in md5s:
        with suppress(FileNotFoundError):
            found[md5] = remote.fs.cat_file(remote.oid_to_path(md5)).decode()
    return found


def _sizes_one_by_one(remote: Any, md5s: Sequence[str]) -> dict[str, int]:
    paths = [remote.oid_to_path(md5) for md5 in md5s]
    rows = remote.fs.info(paths, return_exceptions=True) if paths else []
    for row in rows:
        if isinstance(row, Exception) and not isinstance(row, FileNotFoundError):
            raise row
    return {md5: row["size"] for md5, row in zip(md5s, rows, strict=True) if not isinstance(row, Exception)}


def _sizes_by_lists(remote: Any, md5s: Sequence[str]) -> dict[str, int]:
    wanted, found = {*md5s}, {}
    for folder in sorted({md5[:2] for md5 in md5s}):
        for path, row in remote.fs.fs.find(remote.oid_to_path(folder), detail=True).items():
            md5 = "".join(path.split("/")[-2:])
            if md5 in wanted:
                found[md5] = row["size"]
        remote.fs.fs.invalidate_cache()  # else all listings stay in memory
    return found


if __name__ == "__main__":
    main()
