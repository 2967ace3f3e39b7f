"""Committing the files of a refresh to git."""

import logging
import subprocess
from datetime import date
from pathlib import Path

import psutil

from autolora.errors import AutoLoraError
from flows.stage import ROOT

COMMITTED = (
    "data/catalog.jsonl",
    "data/takedowns.jsonl",
    "data/watermarks.json",
    "data/training.jsonl",
    "data/refresh.json",
    "data/pool",
    "digests",
    "metrics",
    "dvc.lock",
)

logger = logging.getLogger(__name__)


def commit(summary: str, today: date) -> None:
    """Commit the files of a refresh; changes that are staged otherwise stay out of the commit.

    Raises AutoLoraError if git fails.
    """
    present = [path for path in COMMITTED if (ROOT / path).exists()]
    _run("add", "--all", "--", *present)
    if _run("status", "--porcelain", "--", *present):
        _run("commit", "--quiet", "-m", f"Refresh {today}\n\n{summary}", "--", *present)


def remove_stale_locks() -> None:
    """Remove the lock files of a git process that was killed; locks stay while any git process runs here."""
    folder = ROOT / ".git"
    locks = [*folder.glob("*.lock"), *(folder / "refs" / "heads").rglob("*.lock")]
    if locks and not _git_runs():
        for lock in locks:
            logger.warning("removing %s, which a killed git process left", lock)
            lock.unlink(missing_ok=True)


def _git_runs() -> bool:
    """Return whether a git process has its working directory in the repository."""
    for process in psutil.process_iter(["name", "cwd"]):
        name, folder = process.info["name"], process.info["cwd"]
        if name == "git" and folder and ROOT in (Path(folder), *Path(folder).parents):
            return True
    return False


def _run(*arguments: str) -> str:
    """Run git and return its standard output."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        raise AutoLoraError(
            f"`git {arguments[0]}` failed: {done.stderr.strip()}; the refresh is complete but not committed: "
            "correct the cause, then commit data/, digests/, metrics/ and dvc.lock"
        )
    return done.stdout
