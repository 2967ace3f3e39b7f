"""Reading committed versions of lock files and digests without touching the working tree."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
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

    Raises MissingArtifact if the revision does not exist or does not contain the file.
    """
    commit = f"{rev}^{{commit}}"
    if texts := read_revisions(root, [commit], path):
        return texts[commit]
    if _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", commit) is None:
        raise MissingArtifact(
            f"{root} has no revision '{rev}': give a commit, branch or tag (`autolora versions` lists some)"
        )
    raise MissingArtifact(
        f"revision '{rev}' does not contain {path}: it was committed before the stage that writes the file first "
        "ran; give a later revision"
    )


def restore_committed(root: Path, path: str) -> bool:
    """Restore a missing file from HEAD and return whether it was restored; never outside of a git repository.

    Lock files are tracked in git: deleting one from the working tree (`rm -rf data`) does not change the lock.
    """
    if (root / path).exists() or shutil.which("git") is None:
        return False
    text = _git(root, "show", f"HEAD:./{path}")
    if text is None:
        return False
    write_atomic(root / path, text)
    return True


def branch_tips(root: Path) -> list[str]:
    """Return the last commits (40 hex digits) of HEAD and of all local and remote branches, each once.

    Empty outside a git repository.
    """
    head = _git(root, "rev-parse", "--verify", "--quiet", "HEAD") or ""
    branches = _git(root, "for-each-ref", "--format=%(objectname)", "refs/heads", "refs/remotes") or ""
    return list(dict.fromkeys((head + branches).split()))


def committed_blobs(root: Path, *paths: str, rev: str = "HEAD") -> dict[str, str]:
    """Return the files below `paths` (all relative to `root`) in a commit, each with git's hash of its content.

    Empty outside a git repository.
    """
    text = _git(root, "ls-tree", "-r", "-z", rev, "--", *paths) or ""
    entries = (entry.split("\t", 1) for entry in text.split("\0") if entry)
    return {path: description.split()[2] for description, path in entries}


def blob_hash(content: bytes, like: str) -> str:
    """Return git's hash of a file's content, by the algorithm of another one: sha1, or sha256 if `like` is longer."""
    algorithm = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def history(root: Path, path: str) -> list[Commit]:
    """Return the commits that added or changed `path`, newest first; an empty list outside a git repository."""
    text = _git(root, "log", "--diff-filter=AM", "--format=%H%x09%aI%x09%s", "--", path) or ""
    return [Commit(*line.split("\t", 2)) for line in text.splitlines()]


def read_revisions(root: Path, revisions: Sequence[str], path: str) -> dict[str, str]:
    """Return commit -> the text of `path` (relative to `root`), for the commits that contain it, by one git process."""
    names = "".join(f"{revision}:./{path}\n" for revision in revisions)
    output = _git(root, "cat-file", "--batch", stdin=names) if revisions else ""
    rest, texts = (output or "").encode(errors="surrogateescape"), {}
    for revision in revisions:
        header, _, rest = rest.partition(b"\n")
        if b" blob " not in header:  # missing, ambiguous, or no repository
            continue
        size = int(header.rpartition(b" ")[2])
        texts[revision] = rest[:size].decode()
        rest = rest[size + 1 :]
    return texts


def tags(root: Path) -> dict[str, tuple[str, ...]]:
    """Return commit -> the names of its tags, for the commits that have some."""
    fields = "%(objectname) %(*objectname) %(refname:strip=2)"
    names: dict[str, tuple[str, ...]] = {}
    for line in (_git(root, "for-each-ref", "refs/tags", f"--format={fields}") or "").splitlines():
        tagged, annotated, name = line.split(" ", 2)
        commit = annotated or tagged
        names[commit] = (*names.get(commit, ()), name)
    return names


def list_tags(root: Path, prefix: str) -> dict[str, str]:
    """Return name -> commit of the tags whose names begin with a prefix, the last made first."""
    fields = "%(refname:strip=2) %(objectname) %(*objectname)"
    listed = (
        _git(
            root,
            "for-each-ref",
            "--sort=-version:refname",
            "--sort=-creatordate",
            f"refs/tags/{prefix}**",
            f"--format={fields}",
        )
        or ""
    )
    rows = (line.split(" ", 2) for line in listed.splitlines())
    return {name: annotated or tagged for name, tagged, annotated in rows}


def branches(root: Path, prefix: str) -> dict[str, str]:
    """Return name -> last commit of the local branches whose names begin with a prefix."""
    fields = "%(refname:strip=2) %(objectname)"
    listed = _git(root, "for-each-ref", f"refs/heads/{prefix}**", f"--format={fields}") or ""
    return dict(line.split(" ", 1) for line in listed.splitlines())


def lock_files(root: Path) -> list[Path]:
    """Return the lock files of git in a repository: of commands that run, and of those that were killed."""
    folder = root / ".git"
    return [*folder.glob("*.lock"), *(folder / "refs").rglob("*.lock")]


def running_git(root: Path) -> int | None:
    """Return the id of a git process that has its working directory in a repository; None without one."""
    import psutil

    for process in psutil.process_iter(["name", "cwd"]):
        name, folder = process.info["name"], process.info["cwd"]
        if name == "git" and folder and root in (Path(folder), *Path(folder).parents):
            return int(process.pid)
    return None


def _git(root: Path, *arguments: str, stdin: str | None = None) -> str | None:
    """Return git's standard output, line ends included, or None if git exits with an error.

    Bytes that are not UTF-8, as in the objects of folders, are surrogates of Python's `surrogateescape`.
    """
    given = None if stdin is None else stdin.encode()
    try:
        completed = subprocess.run(["git", *arguments], cwd=root, capture_output=True, input=given)
    except FileNotFoundError as error:
        raise MissingArtifact("the command `git` is missing: install git") from error
    return None if completed.returncode else completed.stdout.decode(errors="surrogateescape")
