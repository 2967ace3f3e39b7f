"""The night: look at the hubs, run what follows, say what changed, release the index.

`dvc repro` decides what runs. A failed night leaves the served index as it was.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import prefect
from prefect.artifacts import create_markdown_artifact

from autolora.catalog import failed_downloads
from autolora.catalog.diff import Snapshot, compare, snapshot, to_markdown
from autolora.errors import AutoLoraError
from autolora.index.served import release
from autolora.report import page
from autolora.storage.files import canonical_json, write_atomic
from autolora.storage.incremental import read_digest
from flows.stage import ROOT, params, run, task, today

TAIL_LINES = 40
TRIES = 2
"""with new setbacks, before a night is given up"""
LOCK, MEMORY = "cache/refresh.lock", "cache/refresh.json"
COMMITTED = (
    "data/catalog.jsonl",
    "data/watermarks.json",
    "data/training.jsonl",
    "digests",
    "metrics",
    "dvc.lock",
)


@task()
def remember() -> Snapshot:
    """Return catalog and digests as the last night that ended well left them.

    A killed or failed night leaves its own memory behind, so that the next one tells all that has changed.
    """
    memory = ROOT / MEMORY
    if not memory.exists():
        write_atomic(memory, canonical_json(snapshot(ROOT).to_json()))
    return Snapshot.from_json(json.loads(memory.read_text()))


@task()
def crawl(lock: int) -> None:
    """Look at the hubs: the only stage that does, and only when forced."""
    _dvc(lock, "repro", "--force", "--single-item", "crawl")


@task()
def reproduce(lock: int) -> None:
    """Run whatever depends on what the crawl found."""
    _dvc(lock, "repro")


@task()
def promote() -> str:
    """Release the index that the night made and return its digest."""
    digest: str = read_digest(ROOT, "index")["sha256"]
    release(ROOT, digest)
    return digest


@task()
def assemble() -> None:
    """Put the report together from what evaluation and experiments left."""
    page.assemble(ROOT)


@task()
def commit(summary: str) -> None:
    """Commit the night to git, and nothing else that may be staged."""
    present = [path for path in COMMITTED if (ROOT / path).exists()]
    _git("add", "--", *present)
    if _git("status", "--porcelain", "--", *present):
        _git("commit", "--quiet", "-m", f"Refresh {today()}\n\n{summary}", "--", *present)


@prefect.flow(name="refresh")
async def refresh() -> None:
    """Refresh the pool and everything that is made of it."""
    with alone() as lock:
        before = remember()
        try:
            crawl(lock)
            reproduce_without_setbacks(lock)
            assemble()
            digest = promote()
        except AutoLoraError as error:
            await report(f"The night failed; the served index is as it was.\n\n```\n{error}\n```")
            raise
        set_aside = [one for one in failed_downloads.read(ROOT).values() if one.waits(today())]
        summary = to_markdown(compare(before, snapshot(ROOT)), set_aside)
        await report(f"{summary}\n\nServed index: `{digest}`")
        if params().refresh.commit:
            commit(summary)
        (ROOT / MEMORY).unlink()


def reproduce_without_setbacks(lock: int) -> None:
    """Run what follows; where the hubs did not give what they list, crawl again, which sets it aside, and go on."""
    for _ in range(TRIES):
        noted = failed_downloads.read(ROOT)
        try:
            return reproduce(lock)
        except AutoLoraError:
            if failed_downloads.read(ROOT) == noted:
                raise
        crawl(lock)
    reproduce(lock)


@contextmanager
def alone() -> Iterator[int]:
    """Hold the repository's lock and yield its file descriptor.

    DVC inherits it, so what a killed refresh left running holds the lock until it ends.
    Raises AutoLoraError when somebody else has it.
    """
    path = ROOT / LOCK
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AutoLoraError(
                f"another refresh is at work in {ROOT}, or what a killed one left running (`pgrep -af dvc`): "
                "wait until it has ended, then run again"
            ) from error
        yield stream.fileno()


async def report(markdown: str) -> None:
    """Say it in the terminal and in a Prefect artifact."""
    print(markdown)
    await create_markdown_artifact(markdown, key="refresh", description="what the night changed")


def _dvc(lock: int, *arguments: str) -> None:
    """Run DVC with this interpreter; its output is passed on, and its tail is the error when it fails."""
    beside = os.path.dirname(sys.executable)
    environment = os.environ | {"PATH": f"{beside}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        tail.append(line)
    if process.wait():
        raise AutoLoraError(f"`dvc {' '.join(arguments)}` failed; its last lines:\n{''.join(tail)}")


def _git(*arguments: str) -> str:
    """Run git and return what it prints."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        raise AutoLoraError(f"`git {arguments[0]}` failed: {done.stderr.strip()}; the night is not committed")
    return done.stdout


if __name__ == "__main__":
    run(refresh)
