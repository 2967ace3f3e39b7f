"""Committing the files of a refresh to git."""

import logging
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from autolora.errors import AutoLoraError
from autolora.local.project import set_values
from autolora.params import load
from autolora.releases.tags import PREFIX
from autolora.storage.git import list_tags, lock_files, read_committed, running_git
from flows.stage import ROOT

PARAMS = "params.yaml"
COMMITTED = (
    "data/catalog/*.jsonl",
    "data/takedowns.jsonl",
    "data/watermarks.json",
    "data/training.jsonl",
    "data/refresh.json",
    "data/gate.jsonl",
    "data/pool/batches.jsonl",
    "data/pool/*.dvc",
    "digests",
    "metrics",
    "dvc.lock",
)
"""pathspecs of what a refresh makes and git keeps; none matches an output that DVC keeps, whatever .gitignore says"""

logger = logging.getLogger(__name__)


def commit(message: str) -> None:
    """Commit the files of a refresh, or of a training; other changes, staged or not, stay out of the commit.

    Raises AutoLoraError if git fails.
    """
    present = [*_present(), *_retrained()]
    _run("add", "--all", "--", *present)
    if _run("status", "--porcelain", "--", *present):
        _run("commit", "--quiet", "-m", message, "--", *present)


def commit_to_branch(name: str, message: str) -> None:
    """Commit the files of a refresh to a new branch; neither the current one nor what is staged changes."""
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _run("read-tree", "HEAD", variables=index)
        _run("add", "--all", "--", *_present(), *_retrained(), variables=index)
        tree = _run("write-tree", variables=index).strip()
    commit = _run("commit-tree", tree, "-p", "HEAD", "-m", message).strip()
    _run("branch", name, commit)


def edited() -> list[str]:
    """Return the tracked files with changes that no refresh commits, and params.yaml if git does not track it."""
    others = [f":(exclude){path}" for path in (*COMMITTED, *_retrained())]
    status = _run("status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--", ".", *others)
    untracked = _run("ls-files", "--others", "--", PARAMS).split()
    return [line[3:] for line in status.split("\0") if line] + untracked


def _retrained() -> list[str]:
    """Return params.yaml if only its day of training has changed since the last commit (`autolora refresh --train`)."""
    try:
        before, now = read_committed(ROOT, "HEAD", PARAMS), (ROOT / PARAMS).read_text()
        day = load(ROOT / PARAMS).dataset.train_until.isoformat()
        is_trained = before != now == set_values(before, {"dataset.train_until": day})
    except (AutoLoraError, OSError):
        return []
    return [PARAMS] if is_trained else []


def tag(name: str, message: str, commit: str = "HEAD") -> None:
    """Make an annotated tag."""
    _run("tag", "--annotate", "--cleanup=verbatim", "--message", message, name, commit)


def push() -> bool:
    """Push the branch and all tags of releases to the branch's upstream, at once or not at all; return whether.

    Without an upstream nothing is pushed.
    """
    upstream = _upstream()
    if upstream is None:
        return False
    remote, branch = upstream
    _run(
        "push",
        "--quiet",
        "--atomic",
        remote,
        f"HEAD:refs/heads/{branch}",
        f"refs/tags/{PREFIX}*:refs/tags/{PREFIX}*",
    )
    return True


def delete_tags(names: Sequence[str]) -> None:
    """Delete tags in the repository that the branch is pushed to, then here."""
    upstream = _upstream()
    if upstream and (pushed := [f"refs/tags/{name}" for name in names if name in _pushed_tags(upstream[0])]):
        _run("push", "--quiet", "--atomic", "--delete", upstream[0], *pushed)
    _run("tag", "--delete", *names)


def delete_branches(names: Sequence[str]) -> None:
    """Delete local branches."""
    _run("branch", "--delete", "--force", *names)


def commits(with_remote: bool, without: Sequence[str]) -> list[str]:
    """Return the commits of HEAD and of all tags and local branches, without those of some names.

    with_remote: also of the branches that were fetched.
    """
    spaces = ("refs/heads", "refs/tags", *(("refs/remotes",) if with_remote else ()))
    fields = "%(refname:strip=2) %(objectname) %(*objectname)"
    rows = [line.split(" ", 2) for line in _run("for-each-ref", f"--format={fields}", *spaces).splitlines()]
    found = [annotated or commit for name, commit, annotated in rows if name not in without]
    return list(dict.fromkeys(([_run("rev-parse", "HEAD").strip()] if rows else []) + found))


def check_fetched() -> None:
    """Raise AutoLoraError if the repository that the branch is pushed to has a release that is not known here."""
    upstream = _upstream()
    missing = sorted(_pushed_tags(upstream[0]) - list_tags(ROOT, PREFIX).keys()) if upstream else []
    if missing:
        raise AutoLoraError(
            f"{upstream and upstream[0]} has {missing[0]}, which is not known here, so that its objects would be lost: "
            "fetch all tags (`git fetch --tags`), then prune again"
        )


def _upstream() -> tuple[str, str] | None:
    """Return remote and branch that the current branch is pushed to; None without an upstream."""
    try:
        name = _run("rev-parse", "--abbrev-ref", "--symbolic-full-name", "@{upstream}").strip()
    except AutoLoraError:
        return None
    remote, _, branch = name.partition("/")
    return remote, branch


def _pushed_tags(remote: str) -> set[str]:
    lines = _run("ls-remote", "--tags", "--refs", remote, f"refs/tags/{PREFIX}*").splitlines()
    return {line.partition("\trefs/tags/")[2] for line in lines}


def _present() -> list[str]:
    """Return the pathspecs of what git keeps that match a file."""
    return [path for path in COMMITTED if _run("ls-files", "--cached", "--others", "--", path)]


def untrack(paths: Sequence[str], commit: bool) -> list[str]:
    """Make git forget outputs that DVC keeps, which stay on disk; return the files that git tracked.

    `dvc repro` fails for an output that git tracks. commit: commit the removal, unless something else is staged.
    Returns nothing outside a git repository.
    """
    listed = _run("ls-files", "-z", "--", *paths).split("\0") if (ROOT / ".git").exists() else []
    tracked = [name for name in listed if name and not name.endswith((".dvc", ".gitignore"))]
    if tracked:
        is_clean = not _run("diff", "--cached", "--name-only")
        command = ("rm", "--cached", "--force", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul")
        _run(*command, stdin="\0".join(tracked))
        if commit and is_clean:
            _run("commit", "--quiet", "-m", "Stop tracking outputs that DVC keeps")
    return tracked


def remove_stale_locks() -> None:
    """Remove the lock files of a git process that was killed; locks stay while any git process runs here."""
    locks = lock_files(ROOT)
    if locks and running_git(ROOT) is None:
        for lock in locks:
            logger.warning("removing %s, which a killed git process left", lock)
            lock.unlink(missing_ok=True)


def _run(*arguments: str, stdin: str | None = None, variables: Mapping[str, str] | None = None) -> str:
    """Run git and return its standard output. variables: of its environment, beside those of this process."""
    environment = os.environ | dict(variables or {})
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, text=True, capture_output=True, input=stdin, env=environment
    )
    if done.returncode:
        raise AutoLoraError(
            f"`git {arguments[0]}` failed: {done.stderr.strip()}; nothing is lost: correct the cause, then "
            "refresh again, or commit data/, digests/, metrics/ and dvc.lock"
        )
    return done.stdout
