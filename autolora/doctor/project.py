"""Checks of the project: models and files that params.yaml names, the training, git, and where DVC pushes to."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.clock import today
from autolora.dataset.store import TRAINING_LOCK, training_lock
from autolora.doctor import Setting, Trouble
from autolora.doctor.models import named_models
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.extras import LIBRARIES
from autolora.integrity.dvc_records import PUSHED, REMOTE_OBJECTS, dvc_setting
from autolora.pool.evicted import absent_batches
from autolora.releases.queries import read_queries
from autolora.storage.files import read_json, read_rows
from autolora.storage.git import lock_files, running_git
from autolora.text_encoder.sentence_folder import PACKAGE, locate_sentence_encoder
from autolora.wording import counted

ANSWER_S = 15.0
"""Seconds that a remote may take to answer."""
HELD_S = 10.0
"""Age of a lock file of git from which it is no command that ends at once."""
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


def models(setting: Setting) -> Iterator[Trouble]:
    """Yield each model of params.yaml that is neither here nor can be downloaded."""
    for model in named_models(setting.params, setting.is_pipeline):
        if model.id.startswith(PACKAGE):
            try:
                locate_sentence_encoder(setting.root, model.id, None)
            except MissingArtifact as error:
                yield Trouble.of(MissingArtifact(f"{model.key} is {model.id}, but {error}"))
        elif not model.is_folder(setting.root) and not model.is_id:
            yield Trouble(
                f"{model.key} is {model.id}, which is neither the folder of a model nor a Hugging Face id with a "
                "revision",
                "correct it in params.yaml (`make playground` builds the models of the playground)",
                stops=model.is_needed,
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


def files(setting: Setting) -> Iterator[Trouble]:
    """Yield that the file of judgments or that of the pinned queries is not there."""
    themes = setting.params.evaluation.themes
    if themes is None or not (setting.root / themes).is_file():
        yield Trouble(
            f"evaluation.themes, {themes}, is not a file", "set it to profiles/themes.json", stops=True
        )
    try:
        read_queries(setting.root)
    except AutoLoraError as error:
        yield Trouble.of(error)


def training(setting: Setting) -> Iterator[Trouble]:
    """Yield a training lock that cannot be read, a date up to which no adapter was seen, and one in the future."""
    until, trains = setting.params.dataset.train_until, setting.params.encoder.from_ is None
    locked = None
    with suppress(MissingArtifact, AttributeError, KeyError, TypeError, ValueError):
        locked = training_lock(setting.root).train_until
    if locked is None and (setting.root / TRAINING_LOCK).exists():
        yield Trouble(
            f"{TRAINING_LOCK}, the training lock, is damaged",
            f"`git checkout HEAD -- {TRAINING_LOCK}`; without one the stage dataset writes a new lock and the models "
            "are trained again",
            stops=True,
        )
    if until > today():
        yield Trouble(
            f"dataset.train_until is {until}, in the future, but the models are trained on what is here when they are "
            "first trained",
            f"set it to {today()} in params.yaml",
        )
    elif trains and until < today() and not _has_seen_any(setting.root, until):
        yield Trouble(
            f"dataset.train_until is {until}, before the first adapter was seen: nothing can be trained on",
            f"set it to {today()} in params.yaml, or name a published encoder (encoder.from)",
            stops=True,
        )


def _has_seen_any(root: Path, until: date) -> bool:
    """Return whether the catalog has a listing that was first seen up to a day; reads no further than the first."""
    rows = (row for path in catalog.catalog_files(root) for row in read_rows(path))
    return any(date.fromisoformat(row["first_seen"]) <= until for row in rows)


def git(setting: Setting) -> Iterator[Trouble]:
    """Yield what keeps a refresh from committing and pushing."""
    if not setting.params.refresh.commit:
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
    yield from _held_locks(setting.root)
    branch = _git(setting, "symbolic-ref", "--short", "HEAD")
    if branch is None:
        yield Trouble(
            "HEAD of git is detached: commits of refreshes are on no branch, and are not pushed",
            "`git switch main`, or `git switch --create NAME` to keep what was committed since",
        )
        return
    remote = _git(setting, "config", f"branch.{branch}.remote")
    if remote and _git(setting, "push", "--dry-run", "--no-verify", remote, "HEAD", limit_s=ANSWER_S) is None:
        yield Trouble(
            f"the branch cannot be pushed to the git remote {remote}, as a refresh does",
            f"`git push --dry-run {remote}` says why; if it is not yours, `git branch --unset-upstream`, or set one "
            "that is",
        )


def _held_locks(root: Path) -> Iterator[Trouble]:
    """Yield a lock file of git that keeps a refresh from committing; it removes those that no process holds."""
    with suppress(FileNotFoundError):  # of a command that has ended
        old = [path for path in lock_files(root) if path.stat().st_mtime < time.time() - HELD_S]
        if old and (process := running_git(root)):
            yield Trouble(
                f"a git command that runs here (process {process}) holds {old[0].relative_to(root)}",
                f"end it, e.g. its editor: nothing can be committed meanwhile; `kill {process}` if it hangs",
                stops=True,
            )


def _git(setting: Setting, *arguments: str, limit_s: float | None = None) -> str | None:
    """Return what git prints; None if it fails, asks, or exceeds a limit."""
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
            command, capture_output=True, text=True, timeout=limit_s, env=environment, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def evictions(setting: Setting) -> Iterator[Trouble]:
    """Yield that nothing can be evicted, or that batches are not here although none should be evicted."""
    keep = setting.params.storage.keep_local_gb
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
    """Yield that DVC's default remote, if there is one, does not take a file (flows.remote_objects writes one).

    Its program prints a line when it begins to ask: until then it imports DVC, as long as that takes.
    """
    if not (setting.root / ".dvc" / "config").exists():
        return
    pushed_to = (read_json(setting.root / PUSHED) or {}).get("url", "")
    command = [sys.executable, "-m", REMOTE_OBJECTS, "write", pushed_to]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=setting.root, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        is_asking = process.stdout.readline()
        try:
            _, errors = process.communicate(timeout=ANSWER_S if is_asking else None)
        except subprocess.TimeoutExpired:
            process.kill()
            yield Trouble(f"DVC's remote did not answer within {ANSWER_S:g} s", REMOTE_REMEDY)
            return
    if process.returncode:
        problem = errors.strip().splitlines()[-1][:300]
        stops = setting.params.refresh.commit
        yield Trouble(f"DVC's remote takes no file ({problem})", REMOTE_REMEDY, stops)


CHECKS = (libraries, models, own_files)
PIPELINE_CHECKS = (files, training, git, evictions, dvc_remote)
