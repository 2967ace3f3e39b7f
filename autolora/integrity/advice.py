"""What to do with a finding that no source restores: nothing here changes a file."""

import shlex
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.served import copies_folder, served_digest, served_path
from autolora.index.store import content_digest
from autolora.integrity.recomputation import TRAININGS, count_taken_down
from autolora.integrity.verification import COPIES, EXTRA, Finding
from autolora.pool.batches import open_folder


def advise(root: Path, finding: Finding) -> str:
    """Return what to do with a finding that no source restores; empty if there is nothing to do."""
    output = finding.file.output if finding.file else None
    if finding.problem == EXTRA:
        return finding.detail
    if is_unfinished(root, finding):
        return "the stage 'pool' was interrupted: run `dvc repro` first"
    if output and output.stage in TRAININGS:
        return f"the training of the stage '{output.stage}' restores it: add --train"
    if output and output.stage and output.in_cache:
        command = _run_without(root, finding, output.stage)
        return f"{command}, which may ask the hubs" if output.stage == "pool" else command
    if output and output.stage:
        return f"run `dvc repro --force --single-item {output.stage}`, which may ask the hubs"
    if output and finding.file and finding.file.path and finding.kind == "sketches":
        return _advise_on_pack(root, finding, finding.file.path)
    if finding.path == str(served_path(root).relative_to(root)):
        return "run `autolora release`, with --rev if an older index was released"
    return _advise_on_copy(root, finding) if finding.kind == COPIES else ""


def is_unfinished(root: Path, finding: Finding) -> bool:
    """Return whether a table of the pool differs from DVC's version because the stage `pool` was interrupted."""
    output = finding.file.output if finding.file else None
    return bool(output and output.stage == "pool" and open_folder(root).exists())


def _run_without(root: Path, finding: Finding, stage: str, *more: str) -> str:
    """Return the commands that delete a file and its object, which DVC would link again, and run a stage.

    more: further paths to delete.
    """
    file = finding.file
    paths = [path for path in (file and file.path, file and file.object) if path]
    names = [str(path.relative_to(root)) if path.is_relative_to(root) else str(path) for path in paths]
    return (
        f"delete it and its object in DVC's cache first: `rm -f {shlex.join([*names, *more])}`, then run "
        f"`dvc repro --force --single-item {stage}`"
    )


def _advise_on_pack(root: Path, finding: Finding, pack: Path) -> str:
    """Return what to do with a sketch pack if some of its weights were taken down."""
    try:
        count = count_taken_down(root, pack)
    except (MissingArtifact, UnicodeDecodeError):
        return ""
    if not count:
        return ""
    commands = _run_without(root, finding, "pool", f"{pack.relative_to(root)}.dvc")
    return f"{count} of its weights {'was' if count == 1 else 'were'} taken down; {commands}"


def _advise_on_copy(root: Path, finding: Finding) -> str:
    """Return that a copy of the index may be deleted, if it is not the one that searches read."""
    folder = copies_folder(root).relative_to(root)
    digest = Path(finding.path).relative_to(folder).parts[0]
    try:
        used = served_digest(root) or content_digest(root)
    except (MissingArtifact, ValueError):
        return ""
    return "" if digest == used else f"this copy is not served: you may delete {folder / digest}"
