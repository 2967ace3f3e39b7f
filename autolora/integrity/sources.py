"""Where a damaged file can be restored from without the hubs: git, DVC's cache, the working tree, and DVC's remote.

A source offers to restore a finding, and restores those that it has offered; the caller verifies the result.
"""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

from autolora.errors import AutoLoraError, MissingArtifact
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import (
    FOLDER_SUFFIX,
    dvc_setting,
    object_path,
    run_dvc,
    sizes_in_remote,
    write_list,
)
from autolora.integrity.expected import ExpectedFile, expect_all
from autolora.integrity.placement import READ_ONLY, fill_cache, fill_working_tree, move, work_folder
from autolora.integrity.verification import EMPTY_MD5, EXTRA, RECORDS, Finding
from autolora.storage.files import write_atomic
from autolora.storage.git import read_committed


class Source(Protocol):
    """One place that files are restored from."""

    def offer(self, finding: Finding) -> str | None:
        """Return what the file would be restored from; None if this source cannot restore it."""

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Restore findings that were offered; return path -> reason of those that failed, as far as it is known."""


class Git:
    """The last commit: for locks, digests, metrics, and the files in which DVC records versions."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def offer(self, finding: Finding) -> str | None:
        """Offer the committed file if its hash is the expected one, or if no hash is recorded."""
        file = finding.file
        if finding.kind != RECORDS and not (file and file.output and not file.output.in_cache):
            return None
        text = self._committed(finding.path)
        if text is None or (file and hashlib.md5(text.encode()).hexdigest() != file.md5):
            return None
        return "git"

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Write the committed files."""
        for finding in findings:
            write_atomic(self._root / finding.path, self._committed(finding.path) or "")
        return {}

    def _committed(self, path: str) -> str | None:
        try:
            return read_committed(self._root, "HEAD", path)
        except MissingArtifact:
            return None


class Cache:
    """DVC's cache: for files of the working tree."""

    def __init__(self, root: Path, reader: ContentReader) -> None:
        self._root, self._reader = root, reader

    def offer(self, finding: Finding) -> str | None:
        """Offer the object if it is another file on disk and has the expected hash."""
        file = finding.file
        if file is None or file.path is None or not _concerns(finding, self._root, file.path):
            return None
        return "DVC cache" if has_md5(self._reader, file.object, file.md5) else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Link the files to their objects."""
        for finding in findings:
            assert finding.file is not None
            fill_working_tree(self._root, finding.file)
        return {}


class WorkingTree:
    """The working tree: for objects in DVC's cache, lists of folders included."""

    def __init__(self, root: Path, reader: ContentReader) -> None:
        self._root, self._reader = root, reader

    def offer(self, finding: Finding) -> str | None:
        """Offer the file, or the list of the folder's files, if it has the expected hash."""
        file = finding.file
        if file is None or file.object is None or not _concerns(finding, self._root, file.object):
            return None
        is_intact = has_md5(self._reader, file.path, file.md5) if file.path else self._list(file) is not None
        return "working tree" if is_intact else None

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Link the objects to the files, and write the lists."""
        for file in (finding.file for finding in findings):
            assert file is not None and file.object is not None
            if file.path:
                fill_cache(self._root, file)
            else:
                write_atomic(file.object, self._list(file) or b"")
                file.object.chmod(READ_ONLY)
        return {}

    def _list(self, file: ExpectedFile) -> bytes | None:
        """Return the list of a folder's files, read from the folder; None if it is not the one that DVC recorded."""
        assert file.output is not None
        folder = self._root / file.output.path
        paths = [path for path in folder.rglob("*") if path.is_file()]
        content = write_list({str(path.relative_to(folder)): self._reader.md5(path) for path in paths})
        return content if hashlib.md5(content).hexdigest() + FOLDER_SUFFIX == file.output.md5 else None


class Remote:
    """DVC's default remote: for everything that DVC versions."""

    def __init__(self, root: Path, reader: ContentReader, wanted: Sequence[Finding] | None = None) -> None:
        """wanted: the findings of a dry run, whose objects the remote is asked for; None: they are simply fetched."""
        self._root, self._reader, self._wanted = root, reader, wanted

    def offer(self, finding: Finding) -> str | None:
        """Offer the objects of the remote, if one is configured."""
        file = finding.file
        if not self._name or file is None or file.object is None or finding.problem == EXTRA:
            return None
        if self._wanted is not None and not self._holds(file):
            return None
        return f"DVC remote {self._name}"

    def restore(self, findings: Sequence[Finding]) -> dict[str, str]:
        """Fetch the objects and link the files to them; an object that the remote does not hold stays as it is.

        What was taken down is removed again if a folder's fetch brings it.
        """
        files = list({id(finding.file): finding.file for finding in findings if finding.file}.values())
        targets = sorted({file.output.target for file in files if file.output})
        aside = {id(file): self._set_apart(file) for file in files}
        not_erased = _not_erased(self._root)
        reason = f"DVC remote {self._name} does not contain it, or holds a damaged object"
        try:
            run_dvc(self._root, "fetch", "--quiet", *targets)
        except AutoLoraError as error:
            reason = str(error)
        for path in _not_erased(self._root) - not_erased:
            path.unlink()
        failures: dict[str, str] = {}
        for file in files:
            if not self._finish(file, aside[id(file)]):
                failures |= {finding.path: reason for finding in findings if finding.file is file}
        return failures

    def _set_apart(self, file: ExpectedFile) -> Path:
        """Move a damaged object out of the cache, since DVC does not fetch an object that exists; return its place."""
        assert file.object is not None
        kept = _objects_aside(self._root) / _object_name(file.object)
        if file.object.exists() and not has_md5(self._reader, file.object, file.md5):
            move(file.object, kept)
        return kept

    def _finish(self, file: ExpectedFile, kept: Path) -> bool:
        """Return whether the object was restored, after linking the file to it or putting the damaged one back."""
        assert file.object is not None
        if not has_md5(self._reader, file.object, file.md5):
            if kept.exists():
                move(kept, file.object)
            return False
        kept.unlink(missing_ok=True)
        if file.path is not None and not has_md5(self._reader, file.path, file.md5):
            fill_working_tree(self._root, file)
        return True

    @property
    def _name(self) -> str:
        """The name of the default remote; empty if there is none."""
        return dvc_setting(self._root, "core.remote")

    def _holds(self, file: ExpectedFile) -> bool:
        """Return whether the remote holds the object of a file, by its size: the recorded one, or any but 0 bytes."""
        assert file.object is not None
        size = self._sizes.get(_object_name(file.object))
        if file.output and not file.output.is_folder and file.output.size is not None:
            return size == file.output.size
        return bool(size) or (size == 0 and file.md5 == EMPTY_MD5)

    @cached_property
    def _sizes(self) -> dict[str, int]:
        """The sizes of the wanted findings' objects in the remote. Raises MissingArtifact if it cannot be asked."""
        objects = {
            _object_name(finding.file.object)
            for finding in self._wanted or ()
            if finding.file and finding.file.object
        }
        return sizes_in_remote(self._root, objects)


def has_md5(reader: ContentReader, path: Path | None, md5: str | None) -> bool:
    """Return whether a file exists and has this md5."""
    try:
        return path is not None and reader.md5(path) == md5
    except OSError:
        return False


def return_objects(root: Path) -> None:
    """Move back the damaged objects that a killed repair had moved out of the cache."""
    for path in _objects_aside(root).glob("*"):
        if not object_path(root, path.name).exists():
            move(path, object_path(root, path.name))


def _not_erased(root: Path) -> set[Path]:
    """Return the objects in the cache that were taken down and are not empty."""
    objects = {file.object for file in expect_all(root).files if file.is_taken_down and file.object}
    return {path for path in objects if path.is_file() and path.stat().st_size}


def _object_name(path: Path) -> str:
    """Return the md5 that names an object in the cache; of a list it ends with .dir."""
    return f"{path.parent.name}{path.name}"


def _objects_aside(root: Path) -> Path:
    return work_folder(root) / "objects"


def _concerns(finding: Finding, root: Path, path: Path) -> bool:
    """Return whether a finding that can be repaired is about this path."""
    return finding.problem != EXTRA and root / finding.path == path
