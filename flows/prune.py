"""Prune: remove releases, refused runs, objects and copies that are no longer needed.

    autolora prune --keep 30            # print what would be removed
    autolora prune --keep 30 --apply    # remove it

Tags and branches go first, the objects that only they need follow: no tag is without its objects, after a kill either.
Nothing goes that a kept tag, a branch, the working tree, or the served index needs.
"""

import argparse
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from dvc.exceptions import DvcException  # type: ignore[import-untyped]  # DVC has no type hints
from dvc.repo import Repo  # type: ignore[import-untyped]

from autolora.captions.store import ENCODED
from autolora.cli.output import print_table
from autolora.clock import now, today
from autolora.errors import AutoLoraError
from autolora.index.served import commit_of, copies_folder, served_digest
from autolora.integrity.dvc_records import PUSHED
from autolora.integrity.index_sources import working_digest
from autolora.releases.pin import read_pin
from autolora.releases.tags import REFUSED, release_tags
from autolora.storage.files import MB
from autolora.storage.git import branches
from autolora.storage.lock import exclusive_lock
from autolora.wording import counted
from flows import dvc, git
from flows.dvc_objects import unused_objects
from flows.stage import ROOT, run

COPIES = 3
"""copies of the newest releases' indexes that stay; DVC's cache has the content of all"""


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that may go."""

    what: str
    where: str
    size: int | None
    """bytes; None for a name in git"""
    reason: str
    remove: Callable[[], object]


def removals(repo: Repo, keep: int | None, days: int, with_remote: bool) -> Iterator[Removal]:
    """Yield what may go, in the order in which it must: names in git, then objects, then copies.

    keep: number of releases, None for all. days: age of a refused run, and of texts of a training.
    """
    tags, refused = _old_tags(keep), _old_branches(days)
    if tags:
        yield Removal(_listed(tags), "git", None, f"beyond the newest {keep}", partial(git.delete_tags, tags))
    if refused:
        reason = f"refused more than {days} days ago"
        yield Removal(_listed(refused), "git", None, reason, partial(git.delete_branches, refused))
    needed = [*git.commits(with_remote, without=[*tags, *refused]), *_served_commit()]
    for place, sizes, remove in unused_objects(repo, needed, with_remote):
        what, reason = counted(len(sizes), "object"), "no kept tag, branch or working tree needs it"
        yield Removal(what, place, sum(sizes.values()), reason, remove)
    yield from _old_copies(set(tags))
    yield from _old_texts(days)


def _old_tags(keep: int | None) -> list[str]:
    """Return the releases beyond the newest `keep`, without the served and the pinned one."""
    served, pin = served_digest(ROOT), read_pin(ROOT)
    old = [] if keep is None else release_tags(ROOT)[keep:]
    return [tag.name for tag in old if tag.index != served and not (pin and pin.release == tag.name)]


def _old_branches(days: int) -> list[str]:
    """Return the branches of runs that were refused more than `days` days ago, without a pinned one."""
    pin, last = read_pin(ROOT), today() - timedelta(days=days)
    old = [name for name in branches(ROOT, REFUSED) if _day_of(name) < last]
    return [name for name in old if not (pin and pin.release == name)]


def _served_commit() -> list[str]:
    """Return the commit that has the served index, which may have no tag."""
    served = served_digest(ROOT)
    commit = commit_of(ROOT, served) if served else None
    return [commit] if commit else []


def _day_of(branch: str) -> date:
    """Return the day in the name of a branch of a refused run; the last possible one if it has none."""
    try:
        return date.fromisoformat(branch.removeprefix(REFUSED)[:10])
    except ValueError:
        return date.max


def _old_copies(dropped: set[str]) -> Iterator[Removal]:
    """Yield the copies of indexes that are neither served, nor the working index, nor of the newest releases."""
    kept = [tag.index for tag in release_tags(ROOT) if tag.name not in dropped]
    needed = {served_digest(ROOT), working_digest(ROOT), *kept[:COPIES]}
    folder = copies_folder(ROOT)
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name.startswith("."):
            if _age_days(path) > 1:
                yield _folder(path, "left by a process that was killed")
        elif path.name not in needed:
            reason = "made again by a search with --rev" if path.name in kept else "no kept release has it"
            yield _folder(path, reason)


def _old_texts(days: int) -> Iterator[Removal]:
    """Yield the texts of trainings that are old."""
    old = [path for path in (ROOT / ENCODED).rglob("*.safetensors") if _age_days(path) > days]
    if old:
        size, reason = (
            sum(path.stat().st_size for path in old),
            "the next training encodes its captions again",
        )
        what = counted(len(old), "encoded caption")
        yield Removal(what, ENCODED.as_posix(), size, reason, partial(_unlink, old))


def _folder(path: Path, reason: str) -> Removal:
    files = (file.stat() for file in path.rglob("*") if file.is_file())
    size = sum(file.st_size for file in files if file.st_nlink == 1)  # others have what a copy shares
    what, where = path.name[:12], path.parent.relative_to(ROOT).as_posix()
    return Removal(what, where, size, reason, partial(_remove_folder, path))


def _remove_folder(path: Path) -> None:
    """Remove a folder, which no longer has its name then: no reader opens a part of it."""
    hidden = path if path.name.startswith(".") else path.rename(path.with_name(f".{path.name}"))
    shutil.rmtree(hidden)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def _age_days(path: Path) -> float:
    return (now().timestamp() - path.stat().st_mtime) / timedelta(days=1).total_seconds()


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[-1]} … {names[0]} ({len(names)})"


def print_removals(rows: Iterable[Removal]) -> None:
    """Print a table of what may go, and its size."""
    removals = list(rows)
    cells = [
        (row.what, row.where, "" if row.size is None else f"{row.size / MB:,.1f}", row.reason)
        for row in removals
    ]
    if cells:
        print_table(("what", "where", "MB", "why it may go"), cells)
    total = sum(row.size or 0 for row in removals)
    print(f"[prune] {total / MB:,.1f} MB" if cells else "[prune] nothing may go")


def prune_all(keep: int | None, days: int, with_remote: bool, is_applied: bool) -> None:
    """Print what may go, and remove it if `is_applied`."""
    try:
        repo = Repo(str(ROOT))
        with repo.lock:
            if with_remote:
                git.check_fetched()
            rows = list(removals(repo, keep, days, with_remote))
            print_removals(rows)
            if is_applied and with_remote:
                (ROOT / PUSHED).unlink(missing_ok=True)  # what is gone is pushed again if it comes back
            for row in rows if is_applied else ():
                row.remove()
    except DvcException as error:
        raise AutoLoraError(
            f"DVC: {error}: correct the cause, then prune again; nothing that is needed was removed"
        ) from error
    print("[prune] removed" if is_applied else "[prune] nothing was changed; add --apply to remove it")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="autolora prune", description="Remove what is no longer needed.")
    parser.add_argument("--keep", type=int, metavar="N", help="releases to keep: the newest; default all")
    parser.add_argument(
        "--days", type=int, default=30, help="days after which refused runs and encoded captions go"
    )
    parser.add_argument("--remote", action="store_true", help="remove objects of the DVC remote too")
    parser.add_argument("--apply", action="store_true", help="remove; without it, nothing is changed")
    arguments = parser.parse_args()
    if arguments.keep is not None and arguments.keep < 1:
        parser.error("--keep must be at least 1")
    return arguments


if __name__ == "__main__":
    given = _arguments()

    def prune() -> None:
        """Remove what no kept release, branch or working tree needs."""
        with exclusive_lock(ROOT):
            if given.apply:
                dvc.repair_files()
                git.remove_stale_locks()
            prune_all(given.keep, given.days, given.remote, given.apply)

    run(prune, guard=False, parse=False)
