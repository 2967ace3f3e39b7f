"""The refresh: crawl the hubs, run the stages that depend on the result, release the index, report the changes.

`dvc repro` decides which stages run. A refresh that fails before the release leaves the served index unchanged.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from prefect.artifacts import acreate_markdown_artifact

from autolora.catalog import failed_downloads
from autolora.catalog.diff import Snapshot, compare, snapshot, to_markdown
from autolora.errors import AutoLoraError
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.report import page
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json
from flows import stage
from flows.stage import FAILURE_VARIABLE, ROOT, StageFailed, flow, guarded, params, run, task, today

TAIL_LINES = 40
MAX_EXTRA_CRAWLS = 2
"""in one refresh, each after new failed downloads were recorded"""
LOCK, BASELINE, FAILURE = "cache/refresh.lock", "cache/refresh_baseline.json", "cache/failure.json"
HINTS = (
    "To track the changes",
    "git add ",
    "To enable auto staging",
    "dvc config core.autostage",
    "Use `dvc push`",
    "Updating lock file",
)
"""beginnings of lines that DVC prints after every stage"""
COMMITTED = (
    "data/catalog.jsonl",
    "data/watermarks.json",
    "data/training.jsonl",
    "digests",
    "metrics",
    "dvc.lock",
)


@task()
def read_baseline() -> Snapshot:
    """Return catalog and digests as they were when this refresh started, or the failed one before it.

    The file is removed at the end of a successful refresh. After a killed or failed one it stays, so the next report
    covers the changes of both.
    """
    path = ROOT / BASELINE
    if not path.exists():
        write_atomic(path, canonical_json(snapshot(ROOT).to_json()))
    return Snapshot.from_json(json.loads(path.read_text()))


@task()
def crawl(lock_fd: int) -> None:
    """Crawl the hubs, even if DVC finds nothing changed."""
    _dvc(lock_fd, "repro", "--force", "--single-item", "crawl")


@task()
def reproduce(lock_fd: int) -> None:
    """Run the stages whose dependencies have changed."""
    _dvc(lock_fd, "repro")


@task()
def promote() -> str:
    """Release the new index and return its digest."""
    digest = content_digest(ROOT)
    release(ROOT, digest)
    return digest


@task()
def write_report() -> None:
    """Write reports/index.html."""
    page.assemble(ROOT)


@task()
def commit(summary: str) -> None:
    """Commit the files of a refresh to git; changes that are staged otherwise stay out of the commit."""
    present = [path for path in COMMITTED if (ROOT / path).exists()]
    _git("add", "--", *present)
    if _git("status", "--porcelain", "--", *present):
        _git("commit", "--quiet", "-m", f"Refresh {today()}\n\n{summary}", "--", *present)


@flow(name="refresh", flow_run_name=lambda: f"refresh {today()}")
async def refresh() -> None:
    """Refresh the pool and everything made from it."""
    with exclusive_lock() as lock_fd:
        before = read_baseline()
        try:
            with guarded("refresh"):
                crawl(lock_fd)
                reproduce_and_defer(lock_fd)
                write_report()
                digest = promote()
        except AutoLoraError as error:
            output = f"\n\n```\n{error.output}```" if isinstance(error, StageFailed) else ""
            await publish(f"**{error}**\n\nThe refresh failed; the served index is unchanged.{output}")
            raise
        deferred = [item for item in failed_downloads.read(ROOT).values() if item.is_deferred(today())]
        summary = to_markdown(compare(before, snapshot(ROOT)), deferred)
        await publish(f"{summary}\n\nServed index: `{digest}`")
        if params().refresh.commit:
            commit(summary)
        (ROOT / BASELINE).unlink()


def reproduce_and_defer(lock_fd: int) -> None:
    """Run the stages; if that records new failed downloads, crawl again, which defers them, and retry."""
    for _ in range(MAX_EXTRA_CRAWLS):
        failed = failed_downloads.read(ROOT)
        try:
            reproduce(lock_fd)
            return
        except AutoLoraError:
            if failed_downloads.read(ROOT) == failed:
                raise
        crawl(lock_fd)
    reproduce(lock_fd)


@contextmanager
def exclusive_lock() -> Iterator[int]:
    """Hold the repository's lock and yield its file descriptor.

    DVC inherits it, so a DVC process that survives its refresh holds the lock until it ends.
    Raises AutoLoraError if another process holds the lock.
    """
    path = ROOT / LOCK
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AutoLoraError(
                f"another refresh runs in {ROOT}, or DVC processes of a killed one (`pgrep -af dvc`): "
                "wait until it has ended, then run again"
            ) from error
        yield stream.fileno()


async def publish(markdown: str) -> None:
    """Print the result of the refresh, and store it as the Prefect artifact `refresh`."""
    stage.print_and_log(markdown)
    await acreate_markdown_artifact(markdown, key="refresh", description="changes of this refresh")


def _dvc(lock_fd: int, *arguments: str) -> None:
    """Run DVC with this interpreter and pass its output on, without blank lines and hints.

    Raises StageFailed if it fails.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    (ROOT / FAILURE).unlink(missing_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock_fd,),
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.strip() and not line.strip().startswith(HINTS):
                stage.print_and_log(line.rstrip("\n"))
                tail.append(line)
        status = process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        raise
    if status:
        raise StageFailed(_failure_reason(arguments), "".join(tail))


def _environment() -> dict[str, str]:
    """Return the environment of DVC: its stages find this interpreter, and link their runs to this refresh."""
    executables = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": executables, "DVC_NO_ANALYTICS": "1", FAILURE_VARIABLE: str(ROOT / FAILURE)}
    return os.environ | own | stage.link_to_refresh(f"refresh-{today()}")


def _failure_reason(arguments: Sequence[str]) -> str:
    """Return the reason that the failed stage has written; if DVC itself failed, there is none."""
    try:
        failure = json.loads((ROOT / FAILURE).read_text())
        return f"{failure['flow']}: {failure['reason']}"
    except (OSError, ValueError, KeyError):
        return f"`dvc {' '.join(arguments)}` failed outside of a stage: see the last lines of its output"


def _git(*arguments: str) -> str:
    """Run git and return its standard output."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        raise AutoLoraError(
            f"`git {arguments[0]}` failed: {done.stderr.strip()}; the refresh is complete but not committed: "
            "correct the cause, then commit data/, digests/, metrics/ and dvc.lock"
        )
    return done.stdout


if __name__ == "__main__":
    run(refresh, guard=False)
