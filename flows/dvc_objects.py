"""The objects that DVC stores for files and folders, in its cache and in every remote, and the versions of a folder.

DVC names an object by the md5 of its content. A folder's object, whose name ends with .dir, lists the md5 of each file.
"""

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import yaml
from dvc.repo import Repo  # type: ignore[import-untyped]  # DVC has no type hints
from dvc_data.hashfile.db import get_index

from autolora.errors import AutoLoraError
from autolora.storage.files import Row, write_atomic
from flows.stage import ROOT

EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()
READ_ONLY = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH
"""mode of an object in DVC's cache; DVC trusts such an object without hashing it"""


class ObjectStore:
    """DVC's cache or one remote. Methods raise AutoLoraError, naming the store, if it cannot be read or written."""

    def __init__(self, name: str, database: Any) -> None:
        """Initialize; database: DVC's HashFileDB of the store."""
        self.name, self._database = name, database
        self._is_local = database.fs.protocol == "local"

    @property
    def folder(self) -> Path | None:
        """The folder of the objects; None if they are not files of this machine."""
        return Path(self._database.path) if self._is_local else None

    def check(self) -> None:
        """Raise AutoLoraError if the store cannot be reached, or is a folder that does not exist."""
        self.size(EMPTY_MD5)
        folder = Path(self._database.path).parents[1]  # without files/md5
        if self._is_local and not folder.is_dir():
            raise AutoLoraError(
                f"{self.name}: the folder {folder} does not exist: mount it, create it if nothing was pushed to it "
                "yet, or remove the remote"
            )

    def size(self, oid: str) -> int | None:
        """Return the size of an object in bytes; None if the store does not have it."""
        with _naming(self.name):
            try:
                self._forget_listings()
                size: int = self._database.fs.info(self._path(oid))["size"]
            except FileNotFoundError:
                return None
        return size

    def read(self, oid: str) -> bytes | None:
        """Return the content of an object; None if the store does not have it."""
        with _naming(self.name):
            try:
                content: bytes = self._database.fs.cat_file(self._path(oid))
            except FileNotFoundError:
                return None
        return content

    def sizes(self) -> dict[str, int]:
        """Return md5 -> bytes of all objects of the store."""
        with _naming(self.name):
            if self._is_local:
                paths = (path for path in Path(self._database.path).rglob("*") if path.is_file())
                return {path.parent.name + path.name: path.stat().st_size for path in paths}
            self._forget_listings()
            listed = self._database.fs.fs.find(self._database.path, detail=True)
        return {"".join(path.split("/")[-2:]): info["size"] for path, info in listed.items()}

    def open(self, oid: str) -> BinaryIO:
        """Return an object, opened for reading."""
        with _naming(self.name):
            stream: BinaryIO = self._database.fs.open(self._path(oid), "rb")
        return stream

    def add(self, oid: str, content: bytes) -> None:
        """Store an object, unless the store has it."""
        if self.size(oid) is not None:
            return
        with _naming(self.name):
            if self._is_local:
                write_atomic(Path(self._path(oid)), content)
                os.chmod(self._path(oid), READ_ONLY)
            else:
                self._database.fs.pipe_file(self._path(oid), content)

    def empty(self, oid: str) -> int:
        """Erase the content of an object and return its former size; 0 if it is empty or the store does not have it.

        The object stays, so that DVC can fetch the folders that list it.
        """
        size = self.size(oid)
        if not size:
            return 0
        with _naming(self.name):
            if self._is_local:
                empty_file(Path(self._path(oid)))
            else:
                self._database.fs.pipe_file(self._path(oid), b"")
        if self.size(oid) != 0:
            raise AutoLoraError(f"{self.name}: {self._path(oid)} is not empty after its content was erased")
        return size

    def _path(self, oid: str) -> str:
        path: str = self._database.oid_to_path(oid)
        return path

    def _forget_listings(self) -> None:
        """Make the file system ask the remote again; fsspec remembers listings."""
        if not self._is_local:
            self._database.fs.fs.invalidate_cache()


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Raise AutoLoraError, naming the store, instead of any error of its library but FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        raise AutoLoraError(f"{name}: {type(error).__name__}: {error}") from error


def empty_file(path: Path) -> None:
    """Erase the content of a file in place, and so of all files that share it through hard links.

    Its permissions stay: of a read-only file they are changed for the moment.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    os.chmod(path, mode | stat.S_IWUSR)
    try:
        os.truncate(path, 0)
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    finally:
        os.chmod(path, mode)


class FolderVersions:
    """The versions of one folder of which git knows a .dvc file, that of the working tree included."""

    def __init__(self, folder: Path, stores: Sequence[ObjectStore]) -> None:
        """Initialize; folder: path of the folder, below ROOT."""
        self._dvc_file = folder.with_name(f"{folder.name}.dvc")
        self._stores = stores
        self._lists: dict[str, list[Row]] = {}

    def md5s(self, file: str) -> set[str]:
        """Return the md5 of all versions of a file, given its path in the folder; not of its empty version.

        Raises AutoLoraError if no store has the list of the current version.
        """
        listed = {
            entry["md5"] for oid in self._oids() for entry in self._entries(oid) if entry["relpath"] == file
        }
        return listed - {EMPTY_MD5}

    def set_empty(self, files: Collection[str]) -> bool:
        """Replace files by empty ones in the current version, and return whether the .dvc file was changed.

        The new list of files is stored in the cache and in the remotes that have the former one. The folder itself is
        neither read nor written, so that other changes in it are not recorded.
        """
        if not self._dvc_file.exists():
            return False
        content = yaml.safe_load(self._dvc_file.read_text())
        out = content["outs"][0]
        entries = self._entries(out["md5"])
        listed = [entry for entry in entries if entry["relpath"] in files and entry["md5"] != EMPTY_MD5]
        if not listed:
            return False
        holders = [self._stores[0], *(store for store in self._stores[1:] if store.size(out["md5"]))]
        if "size" in out:
            out["size"] -= sum(self._size(entry["md5"]) for entry in listed)
        for entry in listed:
            entry["md5"] = EMPTY_MD5
        text = json.dumps(entries, sort_keys=True).encode()
        out["md5"] = f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"
        for store in holders:
            store.add(EMPTY_MD5, b"")
            store.add(out["md5"], text)
        write_atomic(self._dvc_file, yaml.safe_dump(content, sort_keys=False))
        return True

    def _size(self, md5: str) -> int:
        return next((size for store in self._stores if (size := store.size(md5))), 0)

    def _entries(self, oid: str) -> list[Row]:
        """Return the list of files of one version; empty for a former version that no store has."""
        if oid not in self._lists:
            content = next((content for store in self._stores if (content := store.read(oid))), None)
            if content is None and oid == self._current_oid():
                raise AutoLoraError(
                    f"{self._dvc_file.relative_to(ROOT)}: neither DVC's cache nor a remote has the object {oid}, which "
                    "lists the files of this version"
                )
            self._lists[oid] = json.loads(content or b"[]")
        return self._lists[oid]

    def _oids(self) -> set[str]:
        """Return the md5 of all versions of the folder."""
        name = str(self._dvc_file.relative_to(ROOT))
        # --full-history: also branches whose version a merge discarded; --reflog: also commits without a branch.
        objects = _git(
            "rev-list", "--all", "--reflog", "--full-history", "--objects", "--", name
        ).splitlines()
        blobs = [line.split(" ", 1)[0] for line in objects if line.endswith(f"/{self._dvc_file.name}")]
        former = {_oid_in(_git("cat-file", "blob", blob)) for blob in blobs}
        return {oid for oid in (*former, self._current_oid()) if oid}

    def _current_oid(self) -> str | None:
        return _oid_in(self._dvc_file.read_text()) if self._dvc_file.exists() else None


def _oid_in(text: str) -> str | None:
    """Return the md5 that the text of a .dvc file names; None if it is not such a file."""
    try:
        oid: str = yaml.safe_load(text)["outs"][0]["md5"]
    except (yaml.YAMLError, LookupError, TypeError):
        return None
    return oid


def _git(*arguments: str) -> str:
    """Run git in ROOT and return its output; empty if it fails."""
    return subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True).stdout


def open_stores() -> tuple[list[ObjectStore], list[str]]:
    """Return DVC's cache and all configured remotes, and one message per remote that cannot be used."""
    repo = Repo(str(ROOT))
    stores, problems = [ObjectStore("DVC's cache", repo.cache.local)], []
    for name in repo.config["remote"]:
        try:
            with _naming(f"remote {name}"):
                store = ObjectStore(f"remote {name}", repo.cloud.get_remote_odb(name))
            store.check()
            stores.append(store)
        except AutoLoraError as error:
            problems.append(str(error))
    return stores, problems


def send_objects(oids: Collection[str]) -> None:
    """Copy objects of DVC's cache to the default remote, over what it has under their names, lists of folders last."""
    repo = Repo(str(ROOT))
    remote = repo.cloud.get_remote_odb(None, "push")
    with _naming("the DVC remote"):
        for oid in sorted(oids, key=lambda oid: oid.endswith(".dir")):
            remote.fs.put_file(repo.cache.local.oid_to_path(oid), remote.oid_to_path(oid))
        get_index(remote).clear()


def unused_objects(
    repo: Repo, commits: Sequence[str], with_remote: bool
) -> Iterator[tuple[str, Mapping[str, int], Callable[[], None]]]:
    """Yield the objects that neither the working tree nor these commits need, as `dvc gc` finds them.

    Of DVC's cache, and of the default remote if `with_remote`: name of the store, path -> bytes, and what removes them.
    A folder whose list of files no store has is left out, unless the remote is concerned, for which that is an error.
    """
    found = repo.used_objs(revs=[*commits], force=not with_remote).values()
    used = {item.value for items in found for item in items}
    stores = [("DVC's cache", repo.cache.local)]
    if with_remote:
        stores.append(("the DVC remote", repo.cloud.get_remote_odb(None, "gc -c")))
    for name, database in stores:
        with _naming(name):
            paths = [database.oid_to_path(oid) for oid in database.all() if oid not in used]
            rows = database.fs.info(paths) if paths else []
        if paths:
            sizes = {path: row["size"] for path, row in zip(paths, rows, strict=True)}
            yield name, sizes, partial(_remove, name, database, paths)


def _remove(name: str, database: Any, paths: Sequence[str]) -> None:
    """Remove objects, lists of folders first, and forget that the remote had them."""
    with _naming(name):
        database.fs.remove(sorted(paths, key=lambda path: not path.endswith(".dir")))
        get_index(database).clear()
