"""Checks of the project: its folder of files, the training date, git, and where DVC pushes to."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.clock import today
from autolora.doctor import Setting, Trouble
from autolora.extras import LIBRARIES
from autolora.integrity.dvc_records import dvc_setting
from autolora.pool.evicted import absent_batches
from autolora.storage.files import read_rows
from autolora.wording import counted

ANSWER_S = 8.0
REMOTE_REMEDY = "check its URL and credentials (`dvc remote list`): without it no release is tagged"


def libraries(setting: Setting) -> Iterator[Trouble]:
    """Yield the libraries that are not installed."""
    from importlib.util import find_spec

    missing = sorted(library for library in LIBRARIES if find_spec(library) is None)
    if missing:
        yield Trouble(
            f"not installed: {', '.join(missing)}",
            "pip install 'autolora[pipeline]'",
            stops=setting.is_pipeline,
        )


def own_files(setting: Setting) -> Iterator[Trouble]:
    """Yield that the folder of one's own files is not there."""
    path = setting.params.hubs.folder.path
    if "folder" not in setting.params.crawl.hubs:
        return
    if path is None:
        yield Trouble("hubs.folder.path is null", "set it to the folder of your LoRA files", stops=True)
    elif not (setting.root / Path(path).expanduser()).is_dir():
        yield Trouble(
            f"hubs.folder.path, {path}, is not a folder",
            "check that it is mounted, or correct it",
            stops=True,
        )


def training_date(setting: Setting) -> Iterator[Trouble]:
    """Yield that no adapter can be trained on, or a missing file of judgments."""
    params = setting.params
    if not setting.is_pipeline:
        return
    until, themes = params.dataset.train_until, params.evaluation.themes
    if params.encoder.from_ is None and until < today() and not _has_seen_any(setting.root, until):
        yield Trouble(
            f"dataset.train_until is {until}, before the first adapter was seen: nothing can be trained on",
            f"set it to {today()} in params.yaml, or name a pretrained encoder (encoder.from)",
            stops=True,
        )
    if themes is None or not (setting.root / themes).is_file():
        yield Trouble(
            f"evaluation.themes, {themes}, is not a file", "set it to profiles/themes.json", stops=True
        )


def _has_seen_any(root: Path, until: date) -> bool:
    """Return whether the catalog has a listing that was first seen up to a day; reads no further than the first."""
    rows = (row for path in catalog.catalog_files(root) for row in read_rows(path))
    return any(date.fromisoformat(row["first_seen"]) <= until for row in rows)


def git(setting: Setting) -> Iterator[Trouble]:
    """Yield what keeps a refresh from committing and pushing."""
    if not setting.is_pipeline or not setting.params.refresh.commit:
        return
    if _git(setting, "rev-parse", "--git-dir") is None:
        yield Trouble(
            f"{setting.root} is not a git repository",
            "clone the project, or set refresh.commit: false",
            stops=True,
        )
        return
    if not _git(setting, "config", "user.email") and not setting.environment.get("GIT_AUTHOR_EMAIL"):
        yield Trouble(
            "git does not know who commits",
            'git config user.email "…" && git config user.name "…"',
            stops=True,
        )
    branch = _git(setting, "symbolic-ref", "--short", "HEAD")
    remote = _git(setting, "config", f"branch.{branch}.remote")
    if remote and _git(setting, "push", "--dry-run", "--no-verify", remote, "HEAD") is None:
        yield Trouble(
            f"the branch cannot be pushed to the git remote {remote}, as a refresh does",
            f"`git push --dry-run {remote}` says why; if it is not yours, `git branch --unset-upstream`, or set one "
            "that is",
        )


def _git(setting: Setting, *arguments: str) -> str | None:
    """Return what git prints; None if it fails, asks, or does not answer."""
    environment = {
        **os.environ,
        **setting.environment,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "SSH_ASKPASS": "true",
        "SSH_ASKPASS_REQUIRE": "force",
    }
    command = ["git", "-C", str(setting.root), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER_S, env=environment, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def evictions(setting: Setting) -> Iterator[Trouble]:
    """Yield that nothing can be evicted, or that batches are not here although none should be evicted."""
    keep = setting.params.storage.keep_local_gb
    if not setting.is_pipeline:
        return
    if keep is None:
        if (absent := absent_batches(setting.root)) and dvc_setting(setting.root, "core.remote"):
            yield Trouble(
                f"{counted(len(absent), 'batch', 'batches')} of the pool, e.g. {absent[0]}, are not here, and "
                "storage.keep_local_gb is null: their files count as lost",
                "`dvc pull data/pool/batches/*.dvc`, or set storage.keep_local_gb again",
            )
        return
    if not dvc_setting(setting.root, "core.remote"):
        yield Trouble(
            f"storage.keep_local_gb is {keep:g}, but DVC has no default remote: nothing is evicted",
            "`dvc remote add --default NAME URL`, or set it to null",
        )
    if not setting.params.refresh.commit:
        yield Trouble(
            f"storage.keep_local_gb is {keep:g}, but refresh.commit is false: only batches are evicted whose .dvc "
            "files are committed",
            "set refresh.commit to true, or commit data/pool/batches/*.dvc after each refresh",
        )


def dvc_remote(setting: Setting) -> Iterator[Trouble]:
    """Yield that DVC's default remote does not take a file (flows.remote_check writes and removes one)."""
    if not (setting.root / ".dvc" / "config").exists() or not setting.is_pipeline:
        return
    command = [sys.executable, "-m", "flows.remote_check"]
    try:
        done = subprocess.run(
            command, cwd=setting.root, capture_output=True, text=True, timeout=ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        yield Trouble(f"DVC's remote did not answer within {ANSWER_S:g} s", REMOTE_REMEDY)
        return
    if done.returncode:
        problem = done.stderr.strip().splitlines()[-1][:300]
        stops = setting.params.refresh.commit
        yield Trouble(f"DVC's remote takes no file ({problem})", REMOTE_REMEDY, stops)


CHECKS = (libraries, own_files, training_date, git, evictions, dvc_remote)
