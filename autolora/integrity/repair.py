"""Restoring through DVC what a verification has found, and the commands that restore the rest.

DVC has a file if its cache or its default remote holds the object. A file of the working tree is replaced only if the
object has the recorded hash; any other stays as it is, with the command that an operator can run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autolora.errors import AutoLoraError, MissingArtifact
from autolora.integrity.advice import BRING_BACK, Advice, advise, advise_to_send, is_unfinished
from autolora.integrity.content import ContentReader
from autolora.integrity.dvc_records import dvc_setting, run_dvc, sizes_in_remote
from autolora.integrity.expected import ExpectedFile, expect_all
from autolora.integrity.verification import (
    EMPTY_MD5,
    EXTRA,
    MISSING,
    REMOTE_ONLY,
    UNKNOWN,
    Finding,
    lost_in_remote,
    verify,
)
from autolora.storage.lock import exclusive_lock

CACHE = "DVC's cache"
TARGETS_PER_COMMAND = 500
FindingKey = tuple[str, str]
"""path and problem"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair:
    """One finding, and what restores it: DVC, or a command."""

    finding: Finding
    source: str | None
    """where DVC has or had the file; None if it has none"""
    advice: Advice | None = None
    """what to do without DVC"""

    @property
    def reason(self) -> str:
        """Why the command restores the file, or why nothing does; empty if DVC has it."""
        return self.advice.reason if self.advice else ""


def plan_repair(root: Path) -> list[Repair]:
    """Return what restores each finding; changes nothing. Raises MissingArtifact if DVC does not work here."""
    return _plan(root, ContentReader(), ())


def repair(root: Path) -> list[Repair]:
    """Restore all findings that DVC has; return each finding with what has restored it or does.

    Restoring the list of a folder makes its files known, so this verifies until nothing is left that DVC has. An
    evicted batch of which the remote has lost files comes back to this disk, as far as the remote has it.
    Raises AutoLoraError if a refresh or another repair runs, MissingArtifact if DVC does not work in this repository.
    """
    with exclusive_lock(root):
        reader, tried, failed = ContentReader(), dict[FindingKey, Repair](), dict[FindingKey, str]()
        while True:
            left = _plan(root, reader, tried.keys())
            offered = {_key(row.finding): row for row in left if row.source}
            lost = lost_in_remote([row.finding for row in left if row.reason == BRING_BACK])
            if offered:
                files = [row.finding.file for row in offered.values() if row.finding.file]
                if reason := _restore(root, reader, files):
                    failed |= dict.fromkeys(offered, reason)
            elif new := {batch: files for batch, files in lost.items() if (batch, MISSING) not in tried}:
                offered = _bring_back(root, reader, new)
            else:
                break
            tried |= offered
    rows = {_key(row.finding): row for row in left}
    for key in failed.keys() & rows.keys():
        reason = f"{tried[key].source} has it, and it could not be restored ({failed[key]}): try again"
        rows[key] = replace(rows[key], advice=Advice(0, "", reason))
    paths = {path for path, _ in rows}
    result = {key: row for key, row in tried.items() if key[0] not in paths} | rows
    return [result[key] for key in sorted(result)]


def commands(repairs: Sequence[Repair]) -> list[str]:
    """Return the commands that restore what DVC does not have, each once, in the order in which to run them."""
    advice = sorted({row.advice for row in repairs if row.advice and row.advice.command})
    return list(dict.fromkeys(row.command for row in advice))


def _plan(root: Path, reader: ContentReader, tried: Collection[FindingKey]) -> list[Repair]:
    """Return what restores each finding. tried: findings that DVC could not restore."""
    report = verify(root, reader=reader)
    findings = [*report.findings]
    if report.unasked:
        row = Finding(
            path="files of evicted batches",
            kind=REMOTE_ONLY,
            problem=UNKNOWN,
            expected="",
            detail=report.unasked,
        )
        findings.append(row)
    sources, unasked = _sources(root, reader, [finding for finding in findings if _key(finding) not in tried])
    others = [finding for finding in findings if _key(finding) not in sources]
    advice = dict(zip(map(_key, others), advise(root, reader, others), strict=True)) | unasked
    return [
        Repair(finding=finding, source=sources.get(_key(finding)), advice=advice.get(_key(finding)))
        for finding in findings
    ]


def _sources(
    root: Path, reader: ContentReader, findings: Sequence[Finding]
) -> tuple[dict[FindingKey, str], dict[FindingKey, Advice]]:
    """Return where DVC has the files of findings, as far as it has them, and what is said if it cannot be asked."""
    sources, wanted = dict[FindingKey, str](), dict[FindingKey, ExpectedFile]()
    for finding in findings:
        file, is_here = finding.file, finding.problem != EXTRA and finding.kind != REMOTE_ONLY
        if file and file.object and is_here and not is_unfinished(root, finding):
            if reader.has_md5(file.object, file.md5):
                sources[_key(finding)] = CACHE
            else:
                wanted[_key(finding)] = file
    remote = dvc_setting(root, "core.remote")
    if not remote or not wanted:
        return sources, {}
    try:
        sizes = sizes_in_remote(root, {file.oid for file in wanted.values()})
    except MissingArtifact as error:
        advice = Advice(0, "", f"DVC's remote could not be asked whether it has it ({error})")
        return sources, dict.fromkeys(wanted, advice)
    held = {key for key, file in wanted.items() if _is_held(file, sizes.get(file.oid))}
    return sources | dict.fromkeys(held, f"DVC's remote {remote}"), {}


def _is_held(file: ExpectedFile, size: int | None) -> bool:
    """Return whether an object of this size in the remote can be the file: the recorded size, or any but 0 bytes."""
    if file.output and not file.output.is_folder and file.output.size is not None:
        return size == file.output.size
    return bool(size) or (size == 0 and file.md5 == EMPTY_MD5)


def _restore(root: Path, reader: ContentReader, files: Sequence[ExpectedFile]) -> str:
    """Fetch damaged or missing objects, check out the files of those that then are intact; return why a part failed."""
    return "; ".join(filter(None, (_fetch(root, reader, files), _check_out(root, reader, files))))


def _fetch(root: Path, reader: ContentReader, files: Sequence[ExpectedFile]) -> str:
    """Fetch the objects that are damaged or missing; return why it failed, empty if it did not."""
    not_cached = [file for file in files if not reader.has_md5(file.object, file.md5)]
    _remove_damaged(reader, not_cached)  # because DVC does not fetch an object that exists
    not_erased = set(_not_erased(root))
    reason = _run(root, "fetch", sorted({_target(root, file) for file in not_cached}))
    for path in set(_not_erased(root)) - not_erased:
        path.unlink()  # the fetch of a list can bring what was taken down since
    _remove_damaged(reader, not_cached)  # because DVC does not hash what it has fetched
    return reason


def _bring_back(
    root: Path, reader: ContentReader, lost: Mapping[str, Sequence[Finding]]
) -> dict[FindingKey, Repair]:
    """Fetch what the remote has of evicted batches, which are then no longer evicted; return how each is completed.

    A batch of which a fetch fails stays evicted, without the objects that were fetched.
    lost: batch -> findings of files that neither remote nor cache has.
    """
    rows, expected = dict[FindingKey, Repair](), expect_all(root).remote_only
    for batch, findings in lost.items():
        gone = {finding.path for finding in findings}
        files = [
            file
            for file in expected
            if file.output and file.output.path == batch and file.path and not file.is_taken_down
        ]
        files = [file for file in files if str(file.shown_path.relative_to(root)) not in gone]
        fetched = [file.object for file in files if file.object and not file.object.exists()]
        if reason := _fetch(root, reader, files):
            for path in fetched:
                path.unlink(missing_ok=True)
            advice = Advice(0, "", f"it stays in the remote, from which it could not be fetched ({reason})")
        else:
            (root / batch).mkdir(exist_ok=True)
            _check_out(root, reader, files)
            advice = advise_to_send("what DVC's remote has of it is here again, to be completed and sent")
        row = Finding(path=batch, kind=REMOTE_ONLY, problem=MISSING, expected="", file=findings[0].file)
        rows[_key(row)] = Repair(finding=row, source=None, advice=advice)
    return rows


def _remove_damaged(reader: ContentReader, files: Sequence[ExpectedFile]) -> None:
    """Remove the objects that have another hash than recorded."""
    for file in files:
        if file.object and not reader.has_md5(file.object, file.md5):
            file.object.unlink(missing_ok=True)


def _check_out(root: Path, reader: ContentReader, files: Sequence[ExpectedFile]) -> str:
    """Replace the damaged files whose objects are intact; return why it failed, empty if it did not."""
    targets = []
    for file in files:
        if file.path and reader.has_md5(file.object, file.md5) and not reader.has_md5(file.path, file.md5):
            file.path.unlink(missing_ok=True)  # DVC trusts a file whose time stamp it knows
            targets.append(_target(root, file))
    return _run(root, "checkout", sorted(targets), "--force")


def _run(root: Path, command: str, targets: Sequence[str], *options: str) -> str:
    """Run a DVC command; return why it failed for a part of the targets, empty if it did not."""
    reason = ""
    for start in range(0, len(targets), TARGETS_PER_COMMAND):
        try:
            run_dvc(root, command, *options, *targets[start : start + TARGETS_PER_COMMAND])
        except AutoLoraError as error:
            reason = str(error)
    return reason


def _not_erased(root: Path) -> Iterator[Path]:
    """Yield the objects in the cache that were taken down and are not empty."""
    for file in expect_all(root).files:
        if file.is_taken_down and file.object and file.object.is_file() and file.object.stat().st_size:
            yield file.object


def _target(root: Path, file: ExpectedFile) -> str:
    """Return what DVC fetches or checks out: the file, or the output whose list is damaged."""
    assert file.output is not None
    return str(file.path.relative_to(root)) if file.path else file.output.target


def _key(finding: Finding) -> FindingKey:
    return finding.path, finding.problem
