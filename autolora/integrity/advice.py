"""What to do with findings that DVC cannot restore: nothing here changes a file.

Findings that one command mends together have the same advice: those of a stage, of a copy of the index, and those that
git has.
"""

import hashlib
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.index.served import commit_of, copies_folder, former_digest, served_path
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import Output, folder_md5
from autolora.integrity.index_sources import working_digest
from autolora.integrity.verification import EXTRA, MISSING, RECORDS, REMOTE_ONLY, Finding
from autolora.pool.batches import SUFFIXES, open_folder
from autolora.stages import STAGES
from autolora.storage.git import committed_blobs, read_committed
from autolora.storage.hashes import hash_files

TRAININGS = ("encoder", "fusion", "experiments")
SERVE_WORKING = "searches read the working index then, until a refresh releases one"
GIT, POOL = "git", "pool"
BRING_BACK = "DVC's remote has lost it: --apply fetches what is left of its batch"
SEND = "python -m flows.dvc"
ORDER = (GIT, *STAGES)
"""groups of findings in the order in which they are mended; copies of the index follow"""


@dataclass(frozen=True, order=True, slots=True)
class Advice:
    """What to do with a finding."""

    order: int
    """commands with lower numbers are run first"""
    command: str
    """for a shell in the project's folder; empty if none mends the file"""
    reason: str
    """why it mends the file, or why nothing does"""


def advise(root: Path, reader: ContentReader, findings: Sequence[Finding]) -> list[Advice]:
    """Return what to do with each of the findings that DVC cannot restore."""
    adviser = _Adviser(root, reader)
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[adviser.group_of(finding)].append(finding)
    return [
        adviser.advise(group, finding, groups[group])
        for finding, group in zip(findings, map(adviser.group_of, findings), strict=True)
    ]


def advise_to_send(reason: str) -> Advice:
    """Return the advice to send to the remote what it has lost."""
    return Advice(len(ORDER), SEND, reason)


def is_unfinished(root: Path, finding: Finding) -> bool:
    """Return whether a table of the pool differs from DVC's version because the stage `pool` was interrupted."""
    output = finding.file.output if finding.file else None
    return bool(output and output.stage == POOL and open_folder(root).exists())


class _Adviser:
    """The advice for one repository."""

    def __init__(self, root: Path, reader: ContentReader) -> None:
        self._root, self._reader = root, reader

    def group_of(self, finding: Finding) -> str:
        """Return the name of the findings that are mended together: git, a stage, or the folder of a copy.

        Empty if the finding is mended alone, or not at all.
        """
        output = finding.file.output if finding.file else None
        if finding.problem == EXTRA or finding.kind == REMOTE_ONLY or is_unfinished(self._root, finding):
            return ""
        if self._is_in_git(finding):
            return GIT
        copies = copies_folder(self._root).relative_to(self._root)
        if Path(finding.path).is_relative_to(copies):
            return str(copies / Path(finding.path).relative_to(copies).parts[0])
        if finding.kind in SUFFIXES:  # a batch that DVC has no version of has no output
            return POOL
        return (output.stage or POOL) if output else ""

    def advise(self, group: str, finding: Finding, findings: Sequence[Finding]) -> Advice:
        """Return what to do with a finding of a group of findings."""
        order = ORDER.index(group) if group in ORDER else len(ORDER)
        file, is_lost = finding.file, finding.kind == REMOTE_ONLY and finding.problem != EXTRA
        if is_lost and file and self._reader.has_md5(file.object, file.md5):
            return advise_to_send("DVC's remote has lost it, and DVC's cache has it")
        if group == GIT:
            paths = shlex.join(sorted(row.path for row in findings))
            return Advice(order, f"git checkout HEAD -- {paths}", "the last commit has it")
        if group in STAGES:
            return Advice(order, *self._run_again(group, findings))
        if group:
            return Advice(order, *self._copy_again(group))
        return Advice(order, *self._alone(finding))

    def _alone(self, finding: Finding) -> tuple[str, str]:
        """Return command and reason of a finding that is mended alone, or not at all."""
        if finding.problem == EXTRA:
            return "", finding.detail
        if finding.kind == REMOTE_ONLY:
            return "", BRING_BACK if finding.file else finding.detail
        if is_unfinished(self._root, finding):
            return "dvc repro", "the stage 'pool' was interrupted"
        if finding.path == str(served_path(self._root).relative_to(self._root)):
            return "rm cache/served", SERVE_WORKING
        return "", "neither DVC nor the last commit has it"

    def _run_again(self, stage: str, findings: Sequence[Finding]) -> tuple[str, str]:
        """Return the command that writes the files of a stage again, or gives the intact ones to DVC, and the reason.

        The damaged files and objects are removed first: a stage could not read them, and DVC would link them again.
        """
        outputs = {finding.file.output for finding in findings if finding.file and finding.file.output}
        added = sorted(output.path for output in outputs if output.stage is None)
        add = f"dvc add {shlex.join(added)}" if added else ""
        if all(self._is_object_of_intact(finding) for finding in findings):
            commit = f"dvc commit {stage}" if len(added) < len(outputs) else ""
            command = _join(_remove(findings, ()), add, commit)
            return command, "the working tree has it, and DVC stores it again"
        whole = [output.path for output in outputs if output.stage not in (None, POOL) and output.in_cache]
        command = _join(_remove(findings, whole), f"dvc repro --force --single-item {stage}", add)
        how = ", which is a training" if stage in TRAININGS else ""
        how = ", or downloads it if a hub still lists it" if stage == POOL else how
        return command, f"DVC does not have it: the stage '{stage}' computes it again{how}"

    def _is_object_of_intact(self, finding: Finding) -> bool:
        """Return whether a finding is an object in DVC's cache whose file or folder in the working tree is intact."""
        file = finding.file
        if file is None or file.object is None or (file.path and self._root / finding.path == file.path):
            return False
        if file.path:
            return self._reader.has_md5(file.path, file.md5)
        return file.output is not None and self._is_intact(file.output)

    def _is_intact(self, output: Output) -> bool:
        """Return whether the folder of an output has the files that DVC has recorded."""
        return folder_md5(hash_files(self._root / output.path, self._reader.md5)) == output.md5

    def _copy_again(self, folder: str) -> tuple[str, str]:
        """Return the command after which a copy of the index is intact or not needed, and the reason."""
        digest, remove = Path(folder).name, shlex.join(["rm", "-rf", folder])
        if digest == working_digest(self._root):
            return remove, "the next search makes the copy again, from data/index"
        if digest != former_digest(self._root):
            return remove, "this copy is not served; a search with its --rev makes it again"
        if rev := commit_of(self._root, digest):
            return remove, f"the next search makes the copy again, from the index of commit {rev[:10]}"
        return f"{remove} && rm cache/served", f"no commit has this index: {SERVE_WORKING}"

    def _is_in_git(self, finding: Finding) -> bool:
        """Return whether git tracks a file, and the committed one has the recorded hash or none is recorded."""
        file = finding.file
        if finding.kind != RECORDS and not (file and file.output and not file.output.in_cache):
            return False
        if not committed_blobs(self._root, finding.path):
            return False
        if file is None:
            return True
        content = read_committed(self._root, "HEAD", finding.path).encode()
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == file.md5


def _remove(findings: Sequence[Finding], whole: Sequence[str]) -> str:
    """Return the command that removes damaged files and objects. whole: outputs that are removed as a whole."""
    paths = {
        path for row in findings if row.problem != MISSING for path in (row.path, row.linked_object) if path
    }
    single = [path for path in paths if not any(Path(path).is_relative_to(output) for output in whole)]
    return shlex.join(["rm", "-rf", *sorted({*single, *whole})]) if paths or whole else ""


def _join(*commands: str) -> str:
    """Return the commands that are not empty as one."""
    return " && ".join(filter(None, commands))
