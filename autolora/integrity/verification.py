"""Comparing what is on disk with what should be: each file is read once, and nothing is written."""

import hashlib
import math
import os
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autolora.errors import MissingArtifact
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import Output, sizes_in_remote
from autolora.integrity.expected import Expectation, ExpectedFile, expect_all
from autolora.params import load
from autolora.progress import Progress
from autolora.storage.files import MB
from autolora.storage.inputs import changed_inputs

MISSING, DAMAGED, EMPTY, EXTRA = "missing", "damaged", "empty", "extra"
"""the problems: no file; wrong bytes; no bytes; a file that no version contains, or the content of a taken-down file"""
OBJECTS, RECORDS, REMOTE_ONLY = "objects", "records", "evicted"
"""kinds of findings besides those of ExpectedFile: objects in DVC's cache, files that record versions, and files of
evicted batches, which DVC's remote must have"""
NOT_ERASED = "taken down, but not empty: run `autolora takedown --apply` on a branch that lists the takedown"
NOT_THE_REMOTE = (
    "DVC's remote has nothing of any evicted batch: mount it, or correct its settings; if it has lost all, set "
    "storage.keep_local_gb to null and verify again"
)
EMPTY_MD5 = hashlib.md5(b"", usedforsecurity=False).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One file that is not as it should be."""

    path: str
    """relative to the root of the repository, if it lies in it"""
    kind: str
    problem: str
    expected: str
    """algorithm and hash that were expected, as in md5:0cc1…; empty if no hash is recorded"""
    detail: str = ""
    """why the file counts as damaged or extra, if the hash alone does not tell"""
    linked_object: str | None = None
    """the object in DVC's cache that is the same file on disk, or missing too"""
    file: ExpectedFile | None = field(default=None, compare=False, repr=False)

    @property
    def output(self) -> Output | None:
        """The output of DVC that the file belongs to."""
        return self.file.output if self.file else None

    def to_row(self) -> dict[str, str | None]:
        """Return the finding's JSON form."""
        names = ("path", "kind", "problem", "expected", "detail", "linked_object")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The result of one verification."""

    files: dict[str, int]
    """kind -> number of files that should exist"""
    read: int
    """number of expected files whose content was checked"""
    bytes: int
    """bytes that were read"""
    seconds: float
    findings: tuple[Finding, ...]
    unversioned: tuple[str, ...]
    """batches and sketch packs that DVC has no version of"""
    changed_inputs: tuple[str, ...]
    """phrases on inputs outside the repository that are not as a stage has read them"""
    remote_only: int = 0
    """files of evicted batches and their lists, which DVC's remote was asked for, with their sizes"""
    unasked: str = ""
    """why it was not; empty if it was, or nothing is evicted"""

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes per second."""
        return self.bytes / 1e6 / max(self.seconds, 1e-9)

    def to_row(self) -> dict[str, Any]:
        """Return the report's JSON form."""
        return {
            "files": self.files,
            "read": self.read,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            "mb_per_s": round(self.mb_per_s, 1),
            "findings": [finding.to_row() for finding in self.findings],
            "unversioned": list(self.unversioned),
            "changed_inputs": list(self.changed_inputs),
            "remote_only": self.remote_only,
            "unasked": self.unasked,
        }


def verify(root: Path, *, sample: int | None = None, seed: int | None = None) -> Report:
    """Return all files that are missing, damaged, empty or extra; writes nothing.

    sample: number of random files whose content is read, chosen by `seed`, others each time without one; None: all.
    Missing, empty and extra files are found in any case.
    Raises MissingArtifact if DVC does not work in this repository, ParamsError if params.yaml is not valid.
    """
    started, reader = time.perf_counter(), ContentReader()
    expectation = expect_all(root)
    chosen = _choose(expectation.files, sample, seed)
    check = _Check(root, reader, {id(file) for file in chosen})
    findings = [*check.records(expectation), *check.extra_files(expectation)]
    findings += check.files(expectation.files)
    unasked = expectation.unasked
    try:
        findings += check.remote_only(expectation.remote_only)
    except MissingArtifact as error:
        unasked.append(str(error))
    return Report(
        files=dict(Counter(file.kind for file in expectation.files)),
        read=len(chosen),
        bytes=reader.bytes_read,
        seconds=time.perf_counter() - started,
        findings=_without_repetition(findings),
        unversioned=tuple(expectation.unversioned),
        changed_inputs=tuple(changed_inputs(root, load(root / "params.yaml").inputs)),
        remote_only=len(expectation.remote_only),
        unasked="; ".join(unasked),
    )


def name_of(root: Path, path: Path) -> str:
    """Return a path in the form that findings have: relative to the root if it lies in it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


def _choose(files: Sequence[ExpectedFile], sample: int | None, seed: int | None) -> Sequence[ExpectedFile]:
    """Return the files whose content is read."""
    if sample is None or sample >= len(files):
        return files
    return random.Random(seed).sample(files, sample)


def _without_repetition(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings by path; an object that belongs to several files is one finding."""
    distinct = {(finding.path, finding.problem): finding for finding in reversed(findings)}
    return tuple(distinct[key] for key in sorted(distinct))


class _Check:
    """The comparison of one repository with its expectation."""

    def __init__(self, root: Path, reader: ContentReader, read: set[int]) -> None:
        """read: ids of the files whose content is read; the others must only exist."""
        self._root, self._reader, self._read = root, reader, read

    def records(self, expectation: Expectation) -> Iterator[Finding]:
        """Yield the files of DVC and git that cannot be read."""
        for path, problem in expectation.unreadable.items():
            yield Finding(path=path, kind=RECORDS, problem=problem, expected="")

    def extra_files(self, expectation: Expectation) -> Iterator[Finding]:
        """Yield the files in tracked folders that no version contains."""
        for folder in expectation.folders:
            for path in _files_below(folder.path):
                if str(path.relative_to(folder.path)) not in folder.names:
                    yield Finding(
                        path=name_of(self._root, path),
                        kind=folder.kind,
                        problem=EXTRA,
                        expected="",
                        detail="no recorded version contains it",
                    )

    def files(self, files: Sequence[ExpectedFile]) -> list[Finding]:
        """Return the findings of all files, which several threads read."""
        total = sum(_size(file) for file in files if id(file) in self._read)
        findings, num_files = list[Finding](), 0
        progress = Progress(
            "verify",
            math.ceil(total / MB),
            "MB",
            detail=lambda: f"{num_files:,} files",
            count=lambda: self._reader.bytes_read // MB,
        )
        with progress, ThreadPoolExecutor(max_workers=os.cpu_count()) as executor:
            for found in executor.map(self._file, files):
                findings += found
                num_files += 1
        return findings

    def remote_only(self, files: Sequence[ExpectedFile]) -> list[Finding]:
        """Return the findings of evicted files: what the remote lacks, or has empty, or not erased.

        Raises MissingArtifact if it cannot be asked, or has nothing of what is not here: then it is another one, most
        likely.
        """
        sizes = sizes_in_remote(self._root, {file.oid for file in files}) if files else {}
        if not sizes and any(file.object and not file.object.exists() for file in files):
            raise MissingArtifact(NOT_THE_REMOTE)
        findings = []
        for file in files:
            size, problem = sizes.get(file.oid), ""
            if file.is_taken_down:
                problem = EXTRA if size else ""
            elif size is None or (size == 0 and file.md5 != EMPTY_MD5):
                problem = MISSING if size is None else EMPTY
            if problem:
                name, expected = name_of(self._root, file.shown_path), f"md5:{file.md5}"
                detail = NOT_ERASED if problem == EXTRA else "evicted here, and DVC's remote lacks it"
                findings.append(
                    Finding(
                        path=name,
                        kind=REMOTE_ONLY,
                        problem=problem,
                        expected=expected,
                        detail=detail,
                        file=file,
                    )
                )
        return findings

    def _file(self, file: ExpectedFile) -> list[Finding]:
        """Return the findings of one file: of the working tree, and of DVC's cache if that is another file on disk."""
        is_shared = file.path is not None and file.object is not None and _are_same(file.path, file.object)
        findings = []
        if file.path is not None:
            algorithm, expected = ("sha256", file.sha256) if _is_named_by_content(file) else ("md5", file.md5)
            linked = file.object if is_shared else None
            findings += self._finding(file, file.path, file.kind, algorithm, expected, linked)
        if file.object is not None and not is_shared:
            kind = file.kind if file.path is None else OBJECTS
            findings += self._finding(file, file.object, kind, "md5", file.md5, None)
        return findings

    def _finding(
        self,
        file: ExpectedFile,
        path: Path,
        kind: str,
        algorithm: str,
        expected: str | None,
        linked: Path | None,
    ) -> list[Finding]:
        problem, detail = self._problem(file, path, algorithm, expected)
        if not problem:
            return []
        if file.path is None and file.output:
            detail = f"the files of {file.output.path} are checked once it is mended"
        return [
            Finding(
                path=name_of(self._root, path),
                kind=kind,
                problem=problem,
                expected=f"{algorithm}:{expected}" if expected else "",
                detail=detail,
                linked_object=name_of(self._root, linked) if linked else None,
                file=file,
            )
        ]

    def _problem(
        self, file: ExpectedFile, path: Path, algorithm: str, expected: str | None
    ) -> tuple[str, str]:
        """Return problem and detail; empty if there is none."""
        try:
            size = path.stat().st_size
            if file.is_taken_down:
                return (EXTRA, NOT_ERASED) if size else ("", "")
            if size == 0 and expected != EMPTY_MD5:
                return EMPTY, ""
            if id(file) not in self._read or expected is None:
                return "", ""
            actual = self._reader.md5(path) if algorithm == "md5" else self._reader.sha256(path)
            return (DAMAGED, "") if actual != expected else ("", "")
        except FileNotFoundError:
            return ("", "") if file.is_taken_down else (MISSING, "")
        except OSError as error:
            return DAMAGED, f"it cannot be read ({error.strerror})"


def _is_named_by_content(file: ExpectedFile) -> bool:
    """Return whether the sha256 of a file in the working tree is known; of a rendering it is that of the download."""
    return file.sha256 is not None and file.kind != "renderings"


def _are_same(path: Path, other: Path) -> bool:
    """Return whether two paths are links to one file on disk, or both missing."""
    try:
        return os.path.samefile(path, other)
    except OSError:
        return not path.exists() and not other.exists()


def _size(file: ExpectedFile) -> int:
    """Return the bytes that a check of the file reads at most once."""
    try:
        return file.shown_path.stat().st_size
    except OSError:
        return 0


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, links included."""
    for path, _, names in os.walk(folder):
        yield from (Path(path, name) for name in names)
