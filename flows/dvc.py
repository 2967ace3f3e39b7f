"""Running DVC: the pipeline's stages, the pool's batches as outputs of their own, and the remote.

A batch or sketch pack is closed by the stage `pool` under `dvc repro`, which holds DVC's lock, so it is given to DVC
afterwards (`dvc add`). `python -m flows.dvc` does that by hand, after a `dvc repro` without a refresh.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import yaml

from autolora.errors import AutoLoraError
from autolora.pool import batches, sketch_packs
from autolora.pool import store as pool
from autolora.storage.files import read_json, write_atomic
from autolora.storage.git import restore_committed
from autolora.storage.incremental import digest_path, pending
from autolora.storage.lock import exclusive_lock
from flows import stage
from flows.stage import FAILURE_VARIABLE, ROOT, StageFailed, run

TAIL_LINES = 40
FAILURE, PUSHED, KEPT_LOCK = "cache/failure.json", "cache/pushed.json", "cache/dvc.lock"
HINTS = (
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Updating lock file",
)
"""beginnings of lines that DVC prints after every stage"""
EMPTY = "is empty."
"""end of DVC's warning about a table without rows"""
TARGETS_PER_COMMAND = 500


def reproduce(*arguments: str, lock_fd: int | None = None, tag: str | None = None) -> None:
    """Run `dvc repro` with this interpreter and pass its output on, without blank lines and hints.

    lock_fd: file descriptor of a lock that DVC inherits. tag: links the stages' flow runs to the running task.
    Raises StageFailed if it fails.
    """
    (ROOT / FAILURE).unlink(missing_ok=True)
    linked = stage.link_to_refresh(tag) if tag else {}
    status, tail = _stream(["repro", *arguments], lock_fd, linked | {FAILURE_VARIABLE: str(ROOT / FAILURE)})
    if status:
        raise StageFailed(_failure_reason(arguments), tail)


def add_batches(lock_fd: int | None = None) -> list[str]:
    """Give new batches and sketch packs to DVC, and return the paths of their .dvc files.

    Sketch packs of a former recipe leave the working tree; DVC's cache keeps them.
    """
    restore_links()
    targets = [path for path in _versioned_paths() if _must_be_added(path)]
    for start in range(0, len(targets), TARGETS_PER_COMMAND):
        part = targets[start : start + TARGETS_PER_COMMAND]
        for path in part:
            _keep_links(path)
        _check(["add", "--quiet", *(str(path.relative_to(ROOT)) for path in part)], lock_fd)
    shutil.rmtree(_links_folder(), ignore_errors=True)
    _drop_former_packs()
    return [str(_dvc_file(path).relative_to(ROOT)) for path in targets]


def push(lock_fd: int | None = None) -> int | None:
    """Push the stages' outputs and all batches that this remote has not received; return the number of batches.

    Without a remote, None is returned. Raises AutoLoraError if the push fails; the next one sends what is missing.
    """
    remote = _output(["config", "core.remote"])
    if not remote:
        return None
    url = _output(["config", f"remote.{remote}.url"])
    record = read_json(ROOT / PUSHED) or {}
    wanted = {str(_dvc_file(path).relative_to(ROOT)): _hash_of(path) for path in _versioned_paths()}
    done = record.get("targets", {}) if record.get("url") == url else {}
    targets = [target for target, _ in pending(wanted.items(), done.items()).add]
    for start in range(0, max(len(targets), 1), TARGETS_PER_COMMAND):
        stages = _stages() if start == 0 else []
        _check(["push", "--quiet", *stages, *targets[start : start + TARGETS_PER_COMMAND]], lock_fd)
    write_atomic(ROOT / PUSHED, json.dumps({"url": url, "targets": wanted}))
    return len(targets)


def repair_files() -> None:
    """Restore the files of DVC that a killed process left half-written.

    DVC writes dvc.lock, .dvc files and its list of locks in place. A damaged dvc.lock is replaced by its state at the
    last call, or the committed one, after which DVC runs the stages that have changed since; a damaged .dvc file is
    written again by `add_batches`.
    """
    lock, kept, rwlock = ROOT / "dvc.lock", ROOT / KEPT_LOCK, ROOT / ".dvc" / "tmp" / "rwlock"
    if lock.exists() and _is_mapping(lock):
        write_atomic(kept, lock.read_bytes())
    elif lock.exists():
        lock.unlink()
        if kept.exists():
            write_atomic(lock, kept.read_bytes())
        else:
            restore_committed(ROOT, "dvc.lock")
    if rwlock.exists() and not _is_mapping(rwlock):
        rwlock.unlink()
    for path in _dvc_files():
        if not _is_mapping(path):
            path.unlink()
    restore_links()


def restore_links() -> None:
    """Put back the files of a batch that a killed `dvc add` has removed.

    DVC replaces each file by a link to its cache, and a process that is killed in between leaves the file out. So
    `add_batches` links all files to a second folder before.
    """
    kept = _links_folder()
    for source in [path for path in kept.rglob("*") if path.is_file()]:
        target = pool.folder(ROOT) / source.relative_to(kept)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
    shutil.rmtree(kept, ignore_errors=True)


def _versioned_paths() -> Iterator[Path]:
    """Yield the batches and the sketch packs on disk, each of which is a DVC output of its own."""
    yield from (batches.batches_folder(ROOT) / name for name in batches.batch_names(ROOT))
    yield from (sketch_packs.packs_folder(ROOT) / name for name in sketch_packs.pack_names(ROOT))


def _dvc_files() -> list[Path]:
    folders = (batches.batches_folder(ROOT), sketch_packs.packs_folder(ROOT))
    return sorted(path for folder in folders for path in folder.glob("*.dvc"))


def _dvc_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.dvc")


def _must_be_added(path: Path) -> bool:
    """Return whether DVC has no version of this path.

    In a clone that downloaded a batch from the hubs, the committed .dvc file may name an object that no cache has,
    because re-encoded images and sketches may differ between machines. It is replaced if the batch is complete.
    """
    if not _dvc_file(path).exists():
        return True
    return not _is_cached(_hash_of(path)) and (not path.is_dir() or batches.is_complete(ROOT, path.name))


def _is_cached(md5: str) -> bool:
    return (_cache_folder() / "files" / "md5" / md5[:2] / md5[2:]).exists()


@cache
def _cache_folder() -> Path:
    """Return the folder of DVC's cache."""
    return Path(_output(["cache", "dir"]))


def _hash_of(path: Path) -> str:
    """Return the md5 that the .dvc file of a path names; of a folder it ends with .dir."""
    md5: str = yaml.safe_load(_dvc_file(path).read_text())["outs"][0]["md5"]
    return md5


def _keep_links(path: Path) -> None:
    """Link the files of a batch or pack to a second folder; copy them on a file system without hard links."""
    target = _links_folder() / path.relative_to(pool.folder(ROOT))
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, target, copy_function=_link)
    else:
        _link(str(path), str(target))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _links_folder() -> Path:
    return pool.folder(ROOT) / "adding"


def _drop_former_packs() -> None:
    """Remove the packs of other recipes than the pool's, with their .dvc files, if DVC's cache has them."""
    recipe = (read_json(digest_path(ROOT, "pool")) or {}).get("recipe")
    for name in sketch_packs.pack_names(ROOT):
        path = sketch_packs.packs_folder(ROOT) / name
        if recipe and sketch_packs.recipe_of(name) != recipe and _is_cached(_hash_of(path)):
            path.unlink()
            _dvc_file(path).unlink()


def _stages() -> list[str]:
    """Return the stages that have outputs in DVC's cache."""
    content = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return [
        name
        for name, definition in content.items()
        if any(
            isinstance(out, str) or next(iter(out.values())).get("cache", True) for out in definition["outs"]
        )
    ]


def _is_mapping(path: Path) -> bool:
    """Return whether a YAML or JSON file is complete: a mapping that ends with a line feed or a brace."""
    try:
        text = path.read_text()
        return isinstance(yaml.safe_load(text), dict) and text.endswith(("\n", "}"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return False


def _check(arguments: Sequence[str], lock_fd: int | None) -> None:
    """Run a DVC command. Raises AutoLoraError with DVC's reason if it fails."""
    status, tail = _stream(arguments, lock_fd, {})
    if status:
        reasons = (
            [line for line in tail.splitlines() if "ERROR" in line]
            or tail.splitlines()
            or ["no reason given"]
        )
        raise AutoLoraError(
            f"`dvc {arguments[0]}` failed: {reasons[-1].removeprefix('ERROR: ')}; nothing is lost: correct the cause, "
            "then run `python -m flows.dvc`, or wait for the next refresh"
        )


def _output(arguments: Sequence[str]) -> str:
    """Return the output of a DVC command; empty if it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), text=True, capture_output=True)
    return "" if done.returncode else done.stdout.strip()


def _stream(arguments: Sequence[str], lock_fd: int | None, variables: dict[str, str]) -> tuple[int, str]:
    """Run a DVC command, print its output, and return its exit status and its last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=ROOT,
        env=_environment() | variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=() if lock_fd is None else (lock_fd,),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip() and not line.strip().startswith(HINTS) and not line.rstrip().endswith(EMPTY):
                stage.print_and_log(line.rstrip("\n"))
                tail.append(line)
        return process.wait(), "".join(tail)
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise


def _environment() -> dict[str, str]:
    """Return the environment of DVC, in which its stages find this interpreter."""
    executables = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": executables, "DVC_NO_ANALYTICS": "1"}


def _failure_reason(arguments: Sequence[str]) -> str:
    """Return the reason that the failed stage has written; if DVC itself failed, there is none."""
    try:
        failure = json.loads((ROOT / FAILURE).read_text())
        return f"{failure['flow']}: {failure['reason']}"
    except (OSError, ValueError, KeyError):
        command = " ".join(["dvc repro", *arguments])
        return f"`{command}` failed outside of a stage: see the last lines of its output"


async def dvc() -> None:
    """Give the pool's new batches and sketch packs to DVC, and push them if a remote is configured."""
    with exclusive_lock(ROOT) as lock_fd:
        repair_files()
        added, pushed = add_batches(lock_fd), push(lock_fd)
    print(f"[dvc] {len(added)} batches and sketch packs added, {pushed or 0} pushed")


if __name__ == "__main__":
    run(dvc, guard=False)
