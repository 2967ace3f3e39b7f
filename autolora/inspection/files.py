"""The LoRA files to inspect: one file, or those below a folder as a folder hub finds them."""

from dataclasses import dataclass, replace
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.hubs.folder.access import UnusableFile, resolve_inside
from autolora.hubs.folder.scan import LoraFile, path_of, scan_folder

MAX_LISTED = 5
"""problems that an error message lists"""
MAX_PROMPTS = 5
"""images of a sidecar whose prompts are compared with the weights"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFile:
    """One file to inspect."""

    path: str
    """as it is reported: relative to the folder, or as the user gave it"""
    location: Path | None
    """with links resolved; None: it cannot be used"""
    problem: str
    """why it cannot be used"""
    prompts: tuple[str, ...] = ()
    """of the images that sidecars list"""
    trigger_words: tuple[str, ...] = ()
    """of the sidecars"""
    description: tuple[str, ...] = ()
    """of the sidecars"""
    base_label: str = ""
    """base model that the sidecars state; empty if they state none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundFiles:
    """The files below a folder, sorted by path, or one file."""

    files: tuple[FoundFile, ...]
    problems: tuple[str, ...]
    """what was skipped in the folder, and sidecars that are not valid"""


def find_files(path: Path) -> FoundFiles:
    """Return the LoRA files of a path. Raises MissingArtifact if there are none."""
    if path.is_dir():
        return _find_in_folder(path)
    try:
        location = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise MissingArtifact(
            f"{path} does not exist or is a broken link: give a LoRA file or a folder"
        ) from error
    return FoundFiles(files=(FoundFile(path=str(path), location=location, problem=""),), problems=())


def _find_in_folder(folder: Path) -> FoundFiles:
    """Return the files that a folder hub lists, and those that it skips, e.g. because of a damaged sidecar."""
    scanned, problems, skipped = scan_folder(folder, MAX_PROMPTS)
    files = {file.path: _described(_locate(folder, file.path), file) for file in scanned}
    files |= {path: _locate(folder, path) for path in map(path_of, skipped)}
    if not files:
        listed = "; ".join(problems[:MAX_LISTED])
        raise MissingArtifact(
            f"{folder} contains no LoRA file (.safetensors): give another folder{f' ({listed})' if listed else ''}"
        )
    return FoundFiles(files=tuple(files[path] for path in sorted(files)), problems=problems)


def _locate(folder: Path, path: str) -> FoundFile:
    try:
        return FoundFile(path=path, location=resolve_inside(folder, path), problem="")
    except (UnusableFile, OSError) as error:
        return FoundFile(path=path, location=None, problem=str(error))


def _described(found: FoundFile, file: LoraFile) -> FoundFile:
    """Return a file with what its sidecars state about it."""
    prompts = tuple(image.prompt for image in file.images if image.prompt)
    return replace(
        found,
        prompts=prompts,
        trigger_words=file.sidecar.trigger_words or (),
        description=file.sidecar.description or (),
        base_label=file.sidecar.base_model or "",
    )
