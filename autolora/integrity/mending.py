"""The commands that mend what a verification has found: of git, of DVC, of a stage. Nothing here changes a file."""

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.served import copies_folder, served_path
from autolora.integrity.dvc_records import dvc_setting, read_records, sizes_in_remote
from autolora.integrity.expected import ExpectedFile, md5_of_folder
from autolora.integrity.verification import (
    EMPTY_MD5,
    EXTRA,
    MISSING,
    RECORDS,
    REMOTE_ONLY,
    Finding,
    name_of,
)
from autolora.pool.batches import SUFFIXES, open_folder
from autolora.stages import STAGES
from autolora.storage.git import committed_blobs, read_committed

POOL, SEND = "pool", "python -m flows.dvc"
ORDER = ("git", "dvc", "store", "resume", "crawl", *STAGES, "fetch", "send", "copy", "alone")
"""what mends a finding, in this order: the last commit; an object in DVC's cache or remote; the intact file, of which
DVC stores the object again; the interrupted stage; a stage that runs again; what is left of an evicted batch; DVC's
cache, for the remote; a new copy of the index; nothing"""
Groups = Mapping[str, Sequence[Finding]]
"""one of ORDER -> findings"""


def mend(root: Path, findings: Sequence[Finding]) -> dict[str, Sequence[Finding]]:
    """Return command -> what it mends, in the order in which to run them; "" -> what no command mends.

    The commands are for a shell in the project's folder. DVC's remote is asked for the objects that are lost here.
    """
    mender = _Mender(root, findings)
    groups = mender.groups(findings)
    return {mender.command(group, groups): groups[group] for group in ORDER if groups.get(group)}


class _Mender:
    """The choice of commands for one repository."""

    def __init__(self, root: Path, findings: Sequence[Finding]) -> None:
        self._root = root
        self._bad = {name for row in findings for name in (row.path, row.linked_object) if name}
        files = [row.file for row in findings if row.file and row.kind != REMOTE_ONLY]
        self._held = _held_by_remote(root, [file for file in files if self._is_lost(file)])

    def groups(self, findings: Sequence[Finding]) -> Groups:
        """Return the findings by what mends them. A stage that runs again writes its outputs as a whole."""
        groups: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in findings:
            groups[self._group_of(finding)].append(finding)
        for stage in groups.keys() & {*STAGES} - {POOL}:
            for group in ("dvc", "store"):
                groups[stage] += [row for row in groups[group] if row.output and row.output.stage == stage]
                groups[group] = [
                    row for row in groups[group] if not (row.output and row.output.stage == stage)
                ]
        return groups

    def command(self, group: str, groups: Groups) -> str:
        """Return the command that mends a group.

        Damaged files and objects are removed first: a stage could not read them, and DVC takes what exists for intact.
        """
        findings = groups[group]
        outputs = {row.output for row in findings if row.output}
        add = _command("dvc add", (output.path for output in outputs if output.stage is None))
        match group:
            case "alone":
                return ""
            case "git":
                return _command("git checkout HEAD --", (row.path for row in findings))
            case "dvc":
                return _join(_remove(findings), self._pull(groups))
            case "store":
                commit = _command("dvc commit", (output.stage for output in outputs if output.stage))
                return _join(_remove(findings), add, commit)
            case "resume":
                return "dvc repro"
            case "fetch":
                fetch = _command("python -m flows.evict", (Path(output.path).name for output in outputs))
                return _join(fetch, _run_again(POOL), add, SEND)
            case "send":
                return SEND
            case "copy":
                return _command("rm -rf", (_copy(self._root, row) for row in findings))
        whole = [output.path for output in outputs if output.stage not in (None, POOL) and output.in_cache]
        return _join(_remove(findings, whole), _run_again(group), add)

    def _group_of(self, finding: Finding) -> str:
        file, output, path = finding.file, finding.output, self._root / finding.path
        if finding.problem == EXTRA:
            return "alone"
        if finding.kind == REMOTE_ONLY:
            return "send" if file and file.object and file.object.exists() else "fetch"
        if _is_in_git(self._root, finding):
            return "git"
        if path == served_path(self._root) or copies_folder(self._root) in path.parents:
            return "copy"
        if output is None or file is None:  # a batch that DVC has no version of has no output
            return POOL if finding.kind in SUFFIXES else "alone"
        if output.stage == POOL and open_folder(self._root).exists():
            return "resume"
        oid = file.oid if file.object else output.md5  # of a file without an object the list is lost
        if oid in self._held or (file.object and not self._is_lost(file)):
            return "dvc"
        return "store" if file.object and self._is_in_tree(file) else output.stage or POOL

    def _is_lost(self, file: ExpectedFile) -> bool:
        """Return whether the object of a file is damaged or missing in DVC's cache."""
        return file.object is not None and name_of(self._root, file.object) in self._bad

    def _is_in_tree(self, file: ExpectedFile) -> bool:
        """Return whether the working tree has the content of an object: a file, or all files of a list."""
        if file.path:
            return name_of(self._root, file.path) not in self._bad
        return file.output is not None and md5_of_folder(self._root / file.output.path) == file.output.md5

    def _pull(self, groups: Groups) -> str:
        """Return the command by which DVC restores files: outputs as a whole, or single files if it lacks others.

        DVC removes an output of which it cannot restore a file.
        """
        files = [row.file for row in groups["dvc"] if row.file]
        others = {row.output for group in groups if group != "dvc" for row in groups[group]}
        targets = {
            name_of(self._root, file.path) if file.path and file.output in others else file.output.target
            for file in files
            if file.output
        }
        if not any(map(self._is_lost, files)):
            return _command("dvc checkout", targets)
        every = {output.target for output in read_records(self._root).outputs if output.in_cache}
        return "dvc pull" if targets == every else _command("dvc pull", targets)


def _copy(root: Path, finding: Finding) -> str:
    """Return what is removed: a copy, which the next search makes again, or the name of a served one that is lost."""
    copies, path = copies_folder(root), root / finding.path
    copy = copies / path.relative_to(copies).parts[0] if copies in path.parents else served_path(root)
    return name_of(root, copy if copy.exists() else served_path(root))


def _held_by_remote(root: Path, files: Sequence[ExpectedFile]) -> set[str]:
    """Return the objects that the default remote has with the recorded size; all if it does not answer.

    `dvc pull` says why it does not.
    """
    if not files or not dvc_setting(root, "core.remote"):
        return set()
    try:
        sizes = sizes_in_remote(root, {file.oid for file in files})
    except MissingArtifact:
        return {file.oid for file in files}
    return {file.oid for file in files if _is_held(file, sizes.get(file.oid))}


def _is_held(file: ExpectedFile, size: int | None) -> bool:
    """Return whether an object of this size can be the file: it has the recorded size, or any but 0 bytes."""
    if file.output and not file.output.is_folder and file.output.size is not None:
        return size == file.output.size
    return bool(size) or (size == 0 and file.md5 == EMPTY_MD5)


def _is_in_git(root: Path, finding: Finding) -> bool:
    """Return whether git tracks a file, and the committed one has the recorded hash or none is recorded."""
    in_git = finding.kind == RECORDS or (finding.output is not None and not finding.output.in_cache)
    if not in_git or not committed_blobs(root, finding.path):
        return False
    if finding.file is None:
        return True
    content = read_committed(root, "HEAD", finding.path).encode()
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == finding.file.md5


def _run_again(stage: str) -> str:
    return f"dvc repro --force --single-item {stage}"


def _remove(findings: Sequence[Finding], whole: Sequence[str] = ()) -> str:
    """Return the command that removes damaged files and objects. whole: outputs that are removed as a whole."""
    paths = {
        path for row in findings if row.problem != MISSING for path in (row.path, row.linked_object) if path
    }
    single = {path for path in paths if not any(Path(path).is_relative_to(output) for output in whole)}
    return _command("rm -rf", (*single, *whole))


def _command(program: str, arguments: Iterable[str]) -> str:
    """Return a command with its arguments, each once; empty without arguments."""
    given = sorted({*arguments})
    return f"{program} {shlex.join(given)}" if given else ""


def _join(*commands: str) -> str:
    """Return the commands that are not empty as one."""
    return " && ".join(filter(None, commands))
