"""The refresh: crawl the hubs, run the stages that depend on the result, release the index, report the changes.

`dvc repro` decides which stages run. A refresh that fails before the release leaves the served index unchanged.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.artifacts import acreate_markdown_artifact

from autolora.catalog import failed_items
from autolora.catalog.diff import BASELINE, Changes, Snapshot, compare, keep_baseline, snapshot
from autolora.errors import AutoLoraError
from autolora.index.served import release
from autolora.index.store import content_digest
from autolora.pool.store import adapters
from autolora.report import page
from autolora.report.caption_summary import caption_summary
from autolora.report.history import RefreshRecord, write_refresh
from autolora.report.last_refresh import record_failure, record_start, record_success
from autolora.report.outcomes import Outcome, outcomes
from autolora.report.refresh_summary import problems, refresh_summary
from autolora.storage.incremental import read_digest
from autolora.storage.inputs import changed_inputs
from autolora.storage.lock import exclusive_lock
from flows import dvc, dvc_process, git, stage
from flows.stage import ROOT, StageFailed, flow, guarded, now, params, run, task, today

MAX_EXTRA_CRAWLS = 3
"""in one refresh, each after new failed items were recorded: downloads in two steps, then captions"""


@task()
def read_baseline() -> Snapshot:
    """Return the snapshot of the start of this refresh, or of the failed one or the takedown before it.

    The file is removed at the end of a successful refresh. After a killed or failed one it stays, so the next report
    covers the changes of both.
    """
    return keep_baseline(ROOT)


@task()
def crawl(lock_fd: int) -> None:
    """Crawl the hubs, even if DVC finds nothing changed."""
    dvc_process.reproduce("--force", "--single-item", "crawl", lock_fd=lock_fd, tag=f"refresh-{today()}")


@task()
def reproduce(lock_fd: int) -> None:
    """Run the stages whose dependencies have changed."""
    dvc_process.reproduce(lock_fd=lock_fd, tag=f"refresh-{today()}")


@task()
def add_batches(lock_fd: int) -> list[str]:
    """Give the pool's new batches and sketch packs to DVC."""
    return dvc.add_batches(lock_fd)


@task()
def promote() -> str:
    """Release the new index and return its digest."""
    digest = content_digest(ROOT)
    release(ROOT, digest)
    return digest


@task()
def record_outcomes(before: Snapshot) -> tuple[Changes, list[Outcome]]:
    """Return the changes since a snapshot and what became of each file; write data/refresh.json if anything changed."""
    after = snapshot(ROOT)
    changes = compare(before, after)
    results = outcomes(changes, after, adapters(ROOT), failed_items.read(ROOT), params().hubs)
    if changes:
        digest, count = content_digest(ROOT), read_digest(ROOT, "index")["rows"]
        write_refresh(ROOT, RefreshRecord.of(today(), digest, count, results, problems(changes)))
    return changes, results


@task()
def write_report() -> None:
    """Write reports/index.html."""
    page.assemble(ROOT)


@task()
def name_changed_inputs() -> None:
    """Print which inputs outside the repository have changed: a refresh reads none of them again."""
    for phrase in changed_inputs(ROOT, params().inputs):
        stage.print_and_log(f"[refresh] {phrase}")


@task()
def commit(summary: str) -> None:
    """Commit the files of the refresh to git."""
    git.commit(summary, today())


@task()
def push(lock_fd: int) -> int | None:
    """Push the outputs of the stages and the new batches, if a remote is configured."""
    return dvc.push(lock_fd)


@flow(name="refresh", flow_run_name=lambda: f"refresh {today()}")
async def refresh() -> None:
    """Refresh the pool and everything made from it."""
    with exclusive_lock(ROOT) as lock_fd, recorded():
        dvc.repair_files()
        git.remove_stale_locks()
        started, before = time.monotonic(), read_baseline()
        try:
            with guarded("refresh"):
                crawl(lock_fd)
                reproduce_and_defer(lock_fd)
                add_batches(lock_fd)
                changes, results = record_outcomes(before)
                write_report()
                name_changed_inputs()
                captions = caption_summary(ROOT)
                digest = promote()
        except AutoLoraError as error:
            output = f"\n\n```\n{error.output}```" if isinstance(error, StageFailed) else ""
            await publish(f"**{error}**\n\nThe refresh failed; the served index is unchanged.{output}")
            raise
        deferred = [item for item in failed_items.read(ROOT).values() if item.is_deferred(today())]
        summary = f"{refresh_summary(changes, results, deferred)}\n\n{captions}".rstrip()
        seconds = time.monotonic() - started
        await publish(f"{summary}\n\nServed index: `{digest}`, after {seconds:.0f} s")
        try:
            if params().refresh.commit:
                commit(summary)
            (ROOT / BASELINE).unlink()
            push(lock_fd)
        except AutoLoraError as error:
            await publish(f"**{error}**\n\nThe new index `{digest}` is served.\n\n{summary}")
            raise


@contextmanager
def recorded() -> Iterator[None]:
    """Record how the refresh ends; after a failure, write the report again, which then states it."""
    record_start(ROOT, now())
    try:
        yield
    except Exception as error:
        record_failure(ROOT, now(), stage.reason_of(error))
        try:
            page.assemble(ROOT)
        except Exception as problem:  # made of what the failed refresh has left
            stage.print_and_log(f"[refresh] reports/index.html stays as it was: {stage.reason_of(problem)}")
        raise
    record_success(ROOT, now())


def reproduce_and_defer(lock_fd: int) -> None:
    """Run the stages; if that records new failed items, crawl again, which defers them, and retry."""
    for _ in range(MAX_EXTRA_CRAWLS):
        failed = failed_items.read(ROOT)
        try:
            reproduce(lock_fd)
            return
        except AutoLoraError:
            if failed_items.read(ROOT) == failed:
                raise
        crawl(lock_fd)
    reproduce(lock_fd)


async def publish(markdown: str) -> None:
    """Print the result of the refresh, and store it as the Prefect artifact `refresh`."""
    stage.print_and_log(markdown)
    await acreate_markdown_artifact(markdown, key="refresh", description="changes of this refresh")


if __name__ == "__main__":
    run(refresh, guard=False)
