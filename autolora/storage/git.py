"""Files as git knows them: lock files and digests of other commits, without touching the working tree."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.storage.files import write_atomic


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit that changed a file."""

    sha: str
    """40 hex digits"""
    date: str
    """author date, ISO 8601"""
    subject: str


def read_committed(root: Path, rev: str, path: str) -> str:
    """Return the text of `path` (relative to `root`) as committed in `rev`.

    Raises MissingArtifact when git does not know the revision, or the revision has no such file.
    """
    commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
    if commit is None:
        raise MissingArtifact(
            f"{root} has no revision '{rev}': name a commit, branch or tag (`autolora versions` lists some)"
        )
    text = _git(root, "show", f"{commit.strip()}:./{path}")
    if text is None:
        raise MissingArtifact(f"revision '{rev}' has no {path}: it was committed before that stage first ran")
    return text


def restore_committed(root: Path, path: str) -> bool:
    """Put a missing lock file back as HEAD has it; return whether there was one to put back.

    A lock file lives in git; a working tree without it (`rm -rf data`) has not changed the lock.
    """
    if (root / path).exists():
        return False
    text = _git(root, "show", f"HEAD:./{path}")
    if text is None:
        return False
    write_atomic(root / path, text)
    return True


def history(root: Path, path: str) -> list[Commit]:
    """Return the commits that changed `path`, newest first; none outside a git repository."""
    text = _git(root, "log", "--format=%H%x09%aI%x09%s", "--", path) or ""
    return [Commit(*line.split("\t", 2)) for line in text.splitlines()]


def _git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it exits with an error."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingArtifact("the command `git` is missing: install git") from error
    return None if done.returncode else done.stdout
