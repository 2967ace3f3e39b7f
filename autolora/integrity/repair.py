"""Restoring what a verification has found, from the first source that can.

A dry run names the source of each finding. The repair asks one source after the other and verifies after each, until
nothing changes: a source may make another one possible, as the list of a folder's files does. A file is replaced only
by a complete and verified one; a file that no source has stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.errors import AutoLoraError, DiskFull
from autolora.integrity.advice import advise, is_unfinished
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import run_dvc
from autolora.integrity.expected import expect_all
from autolora.integrity.hub_source import Hubs
from autolora.integrity.index_copies import Copies
from autolora.integrity.placement import LEFTOVER
from autolora.integrity.recomputation import Packs, Stages, return_outputs
from autolora.integrity.sources import Cache, Git, Remote, Source, WorkingTree, return_objects
from autolora.integrity.verification import Finding, Report, verify
from autolora.params import Params
from autolora.storage.files import raising_disk_full
from autolora.storage.lock import exclusive_lock

MAX_ROUNDS = 5

FindingKey = tuple[str, str]
"""path and problem"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """One finding and what restores it."""

    finding: Finding
    source: str | None
    """what the file is or was restored from; None if no source has it"""
    remark: str = ""
    """why it was not restored, or how the restored file differs"""


def plan_repair(root: Path, params: Params, *, train: bool = False) -> list[Repair]:
    """Return the source of each finding; changes nothing, and asks no hub.

    train: allow the trainings. Raises MissingArtifact if DVC does not work in this repository.
    """
    reader = ContentReader()
    report = verify(root, reader=reader)
    sources = _sources(root, params, reader, train, report.findings)
    repairs = []
    for finding in report.findings:
        offers = (source.offer(finding) for source in sources if not is_unfinished(root, finding))
        offer = next((offer for offer in offers if offer), None)
        repairs.append(Repair(finding=finding, source=offer, remark="" if offer else advise(root, finding)))
    return repairs


def repair(root: Path, params: Params, *, train: bool = False) -> list[Repair]:
    """Restore all findings that a source has, and return each with its source; the others stay as they are.

    train: allow the trainings. Raises AutoLoraError if a refresh or another repair runs, MissingArtifact if DVC does
    not work in this repository.
    """
    with exclusive_lock(root):
        return_objects(root)
        return_outputs(root)
        _remove_leftovers(root)
        run = _Run(root, params, train)
        for _ in range(MAX_ROUNDS):
            before = run.remaining
            if not before:
                break
            run.ask_sources()
            if run.remaining == before:
                break
        return run.result()


class _Run:
    """One repair: the last report, and the source and remark of each finding so far."""

    def __init__(self, root: Path, params: Params, train: bool) -> None:
        self._root, self._params, self._train = root, params, train
        self._reader = ContentReader()
        self._found: dict[FindingKey, Finding] = {}
        self._restored_from: dict[FindingKey, str] = {}
        self._remarks: dict[FindingKey, str] = {}
        self._failures: dict[str, list[str]] = {}
        self._report = self._verify()

    @property
    def remaining(self) -> set[FindingKey]:
        """The findings of the last report."""
        return set(map(_key, self._report.findings))

    def ask_sources(self) -> None:
        """Let each source restore what it offers, and verify after each."""
        for source in _sources(self._root, self._params, self._reader, self._train):
            offers: dict[FindingKey, str] = {}
            for finding in self._report.findings:
                offer = None if is_unfinished(self._root, finding) else source.offer(finding)
                offers |= {_key(finding): offer} if offer else {}
            if offers:
                offered = [finding for finding in self._report.findings if _key(finding) in offers]
                self._record(offers, self._restore(source, offered))

    def _restore(self, source: Source, findings: Sequence[Finding]) -> Mapping[str, str]:
        """Let a source restore findings, verify, and return its remarks by path."""
        try:
            with raising_disk_full(self._root):
                remarks = source.restore(findings)
        except DiskFull:
            raise
        except AutoLoraError as error:
            remarks = dict.fromkeys((finding.path for finding in findings), str(error))
        self._report = self._verify()
        if isinstance(source, Hubs | Packs) and source.accepted:
            remarks |= self._accept(source.accepted)
            self._report = self._verify()
        return remarks

    def _record(self, offers: Mapping[FindingKey, str], remarks: Mapping[str, str]) -> None:
        """Record which findings a source has restored, and why it has not restored others."""
        for key, offer in offers.items():
            remark = remarks.get(key[0], "")
            if key not in self.remaining:
                self._restored_from[key], self._remarks[key] = offer, remark
            elif remark and remark not in self._failures.setdefault(key[0], []):
                self._failures[key[0]].append(remark)

    def result(self) -> list[Repair]:
        """Return all findings of the run, sorted by path."""
        return [self._result_of(key, finding) for key, finding in sorted(self._found.items())]

    def _result_of(self, key: FindingKey, finding: Finding) -> Repair:
        if key in self.remaining:
            reasons = [*self._failures.get(finding.path, ()), advise(self._root, finding)]
            return Repair(finding=finding, source=None, remark="; ".join(filter(None, reasons)))
        source = self._restored_from.get(key, "the repair of another file")
        return Repair(finding=finding, source=source, remark=self._remarks.get(key, ""))

    def _verify(self) -> Report:
        report = verify(self._root, reader=self._reader)
        for finding in report.findings:
            self._found.setdefault(_key(finding), finding)
        return report

    def _accept(self, accepted: set[Path]) -> dict[str, str]:
        """Give files with other bytes than before to DVC, if all else in their batch is intact; return remarks."""
        remarks: dict[str, str] = {}
        for target in sorted(
            {_target(finding) for finding in self._report.findings if _path(finding) in accepted}
        ):
            of_target = [
                finding for finding in self._report.findings if finding.file and _target(finding) == target
            ]
            paths = [finding.path for finding in of_target]
            if not all(_path(finding) in accepted for finding in of_target):
                reason = f"its bytes differ from the former ones; other files of {target} are still damaged"
            else:
                reason = self._give_to_dvc(target, of_target)
            remarks |= dict.fromkeys(paths, reason)
        return remarks

    def _give_to_dvc(self, target: str, findings: Sequence[Finding]) -> str:
        """Add a batch or pack to DVC instead of its former version, whose damaged objects are removed."""
        for finding in findings:
            if finding.file and finding.file.object:
                finding.file.object.unlink(missing_ok=True)
        try:
            run_dvc(self._root, "add", "--quiet", target)
        except AutoLoraError as error:
            return str(error)
        return f"its bytes differ from the former ones: {target}.dvc names the new ones; commit it"


def _sources(
    root: Path, params: Params, reader: ContentReader, train: bool, planned: Sequence[Finding] | None = None
) -> Sequence[Source]:
    """Return all sources, the cheapest first; planned: the findings of a dry run."""
    return (
        Git(root),
        Cache(root, reader),
        WorkingTree(root, reader),
        Remote(root, reader, planned),
        Hubs(root, params, reader),
        Packs(root, params, reader),
        Stages(root, train),
        Copies(root),
    )


def _remove_leftovers(root: Path) -> None:
    """Remove replacements that a killed repair had not put in place."""
    for folder in expect_all(root).folders:
        for path in folder.path.rglob(f"{LEFTOVER}*"):
            path.unlink(missing_ok=True)


def _key(finding: Finding) -> FindingKey:
    return finding.path, finding.problem


def _path(finding: Finding) -> Path | None:
    """Return the file of the working tree that a finding belongs to."""
    return finding.file.path if finding.file else None


def _target(finding: Finding) -> str:
    """Return the batch or sketch pack that a finding belongs to."""
    assert finding.file is not None and finding.file.output is not None
    return finding.file.output.path
