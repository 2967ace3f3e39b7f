"""The refresh: crawl the hubs, run the stages that depend on the result, promote the index, report the changes.

`dvc repro` decides which stages run, and the gate whether the new index is served (flows.promotion). A refresh that
fails or is refused before leaves the served index unchanged. The gates and the experiments, which no search needs,
follow the release: if they fail, the refresh fails, and the new index stays.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from prefect.artifacts import create_markdown_artifact
from prefect.events import emit_event
from prefect.task_engine import TaskRunTimeoutError

from autolora.catalog import failed_items
from autolora.catalog.diff import Changes, Snapshot, compare, keep_baseline, snapshot
from autolora.clock import now, today
from autolora.doctor import examine
from autolora.errors import AutoLoraError, ParamsError
from autolora.index.served import former_digest
from autolora.index.store import content_digest
from autolora.integrity.dvc_records import added_folders, declared_outputs
from autolora.local.project import train_until
from autolora.pool.store import adapters
from autolora.refresh.crawl_summary import read_problems
from autolora.refresh.last_refresh import (
    failure_notice,
    read_last_refresh,
    record_failure,
    record_start,
    record_success,
)
from autolora.refresh.outcomes import Outcome, outcomes
from autolora.refresh.record import RefreshRecord, write_refresh
from autolora.refresh.summary import caption_summary, problems, refresh_summary
from autolora.releases.checks import Decision
from autolora.releases.state import read_state
from autolora.report import page
from autolora.report.measured import read_digests
from autolora.stages import AFTER_RELEASE
from autolora.storage.incremental import read_digest
from autolora.storage.inputs import changed_inputs
from autolora.storage.lock import exclusive_lock
from flows import dvc, dvc_process, git, promotion, stage
from flows.evict import evict_batches
from flows.stage import (
    ROOT,
    PromotionRefused,
    StageFailed,
    check_code,
    flow,
    params,
    report,
    run,
    task,
    time_limit_s,
    too_late,
)

MAX_EXTRA_CRAWLS = 3
"""in one refresh, each after new failed items were recorded: downloads in two steps, then captions"""
LAST_STAGE = "evaluation"
"""the last one that a release needs"""
MAX_NAMES = 3
"""files that a line names"""


@task()
def crawl(lock_fd: int) -> None:
    """Crawl the hubs, even if DVC finds nothing changed."""
    dvc_process.reproduce("--force", "--single-item", "crawl", lock_fd=lock_fd)


@task()
def reproduce(lock_fd: int, *targets: str) -> None:
    """Run the stages whose dependencies have changed: all, or the targets and what they depend on."""
    dvc_process.reproduce(*targets, lock_fd=lock_fd)


def record_outcomes(before: Snapshot) -> tuple[Changes, list[Outcome]]:
    """Return the changes since a snapshot and what became of each file; write data/refresh.json if anything changed."""
    after = snapshot(ROOT)
    changes = compare(before, after)
    found = [*read_problems(ROOT), *problems(changes)]
    results = outcomes(changes, after, adapters(ROOT), failed_items.read(ROOT), params().hubs)
    if changes:
        digest, count = content_digest(ROOT), read_digest(ROOT, "index")["rows"]
        write_refresh(ROOT, RefreshRecord.of(today(), digest, count, results, found))
    return changes, results


def name_changed_inputs() -> None:
    """Print which inputs outside the repository have changed: a refresh reads none of them again."""
    for phrase in changed_inputs(ROOT, params().inputs):
        stage.print_and_log(f"[refresh] {phrase}")


def name_edits() -> None:
    """Print which changes of the user the commit of a refresh leaves out."""
    if params().refresh.commit and (names := git.edited()):
        stage.print_and_log(
            f"[refresh] not committed: {', '.join(names[:MAX_NAMES])}{' and more' if len(names) > MAX_NAMES else ''}. "
            "This run uses them as they are, and its commit leaves them out: commit them yourself, or a clone of the "
            "release has them as they were"
        )


def untrack_outputs() -> None:
    """Make git forget outputs that DVC keeps, and say so: with them every `dvc repro` fails."""
    outputs = [path for _, path, is_cached in declared_outputs(ROOT) if is_cached]
    if tracked := git.untrack([*outputs, *map(str, added_folders(ROOT))], params().refresh.commit):
        stage.print_and_log(
            f"[refresh] git tracked {len(tracked)} files that DVC keeps, with which their stages fail, among them "
            f"{', '.join(tracked[:MAX_NAMES])}. It no longer tracks them, and the files stay; commit this if `git "
            "status` shows it"
        )


def set_training(day: date) -> None:
    """Write the day until which adapters are learned from to params.yaml. Raises ParamsError if it stands there."""
    if params().dataset.train_until == day:
        raise ParamsError(
            f"dataset.train_until is {day} already: give another day, or build what params.yaml says with "
            "`autolora refresh`"
        )
    train_until(ROOT, day)


@flow(name="refresh", flow_run_name=lambda: f"refresh {today()}")
def refresh(train: date | None = None) -> None:
    """Refresh the pool and everything made from it.

    train: ask no hub, and learn from the adapters first seen until this day. The gate refuses every new training with a
    comparison of both, and keeps the run as a branch: a candidate that an operator promotes.
    """
    with exclusive_lock(ROOT) as lock_fd:
        if train:
            set_training(train)
        report(digest=former_digest(ROOT))
        try:
            with recorded():
                dvc.repair_files()
                git.remove_stale_locks()
                check_code("refresh")
                look_for_troubles()
                run_in_time(lock_fd, with_crawl=train is None)
        except PromotionRefused:
            raise
        except AutoLoraError as error:
            publish(failure_text(error), printed=f"The refresh failed. {failure_advice()}")
            raise
        finally:
            alarm_if_stale()


def look_for_troubles() -> None:
    """Print what `autolora doctor` finds. Raises AutoLoraError if a refresh cannot succeed with it."""
    found = examine(ROOT, params())
    for trouble in found:
        stage.print_and_log(f"[refresh] {trouble}")
    if stopping := [str(trouble) for trouble in found if trouble.stops]:
        raise AutoLoraError(f"the refresh was not started, as it cannot succeed: {'; '.join(stopping)}")


def run_in_time(lock_fd: int, with_crawl: bool) -> None:
    """Run the steps of a refresh; Prefect ends them after refresh.timeout_h."""
    try:
        run_steps.with_options(timeout_seconds=time_limit_s())(lock_fd, with_crawl)
    except TaskRunTimeoutError as error:
        raise too_late("refresh") from error


@task()
def run_steps(lock_fd: int, with_crawl: bool = True) -> None:
    """Release and save the index of today, then run the stages that no index needs.

    The report starts from the snapshot of a failed refresh or a takedown, if there is one. It is removed when a
    release is committed: after a refresh that was killed or failed before, the next report covers the changes of both.
    """
    started, before = time.monotonic(), keep_baseline(ROOT)
    build(lock_fd, with_crawl)
    captions = caption_summary(ROOT)
    changes, results = record_outcomes(before)
    decision = promotion.decide(results)
    page.assemble(ROOT)
    deferred = [item for item in failed_items.read(ROOT).values() if item.is_deferred(today())]
    gate = promotion.describe(decision)
    summary = f"{refresh_summary(changes, results, deferred)}\n\n{captions}\n\n{gate}"
    count_outcomes(results, decision)
    seconds = time.monotonic() - started
    text = f"{summary}\n\nServed index: `{former_digest(ROOT)}`, after {seconds:.0f} s"
    if decision and decision.verdict == "refused":
        refusal = promotion.refused_error(decision, promotion.keep_refused(summary))
        publish(f"**{refusal}**\n\n{text}", printed=text)
        raise refusal
    publish(text)
    save(summary, lock_fd)
    if changed := run_later_stages(lock_fd):
        save(f"Changed after the release: {', '.join(changed)}", lock_fd)


@contextmanager
def recorded() -> Iterator[None]:
    """Record how the refresh ends, and write the report again if a failure must be stated, or no longer."""
    before = record_start(ROOT, now())
    try:
        yield
    except Exception as error:
        with _attempted():
            record_failure(ROOT, now(), stage.reason_of(error), isinstance(error, PromotionRefused))
            page.assemble(ROOT)
        raise
    record_success(ROOT, now())
    if before.problem:
        with _attempted():
            page.assemble(ROOT)


@contextmanager
def _attempted(consequence: str = "reports/index.html stays as it was") -> Iterator[None]:
    """Print an error of the block and go on: a full disk, or what a failed refresh has left, hides no other reason."""
    try:
        yield
    except Exception as problem:
        stage.print_and_log(f"[refresh] {consequence}: {stage.reason_of(problem)}")


def count_outcomes(results: Sequence[Outcome], decision: Decision | None) -> None:
    """Add to the last line of the refresh what has become of the files, and the verdict."""
    kinds = Counter(result.kind for result in results)
    report(
        digest=former_digest(ROOT),
        added=kinds["accepted"],
        removed=kinds["removed"],
        verdict=decision.verdict.replace(" ", "-") if decision else "unchanged",
    )


def alarm_if_stale() -> None:
    """Send the Prefect event `autolora.stale` if there was no release for refresh.stale_days days."""
    with _attempted("no alarm is sent"):
        last, days = read_last_refresh(ROOT), params().refresh.stale_days
        if message := read_state(ROOT, last, days, now()).stale:
            stage.print_and_log(f"[refresh] {message}")
            resource = {"prefect.resource.id": f"autolora.{ROOT.name}", "prefect.resource.name": ROOT.name}
            emit_event("autolora.stale", resource, payload={"message": message})


def build(lock_fd: int, with_crawl: bool) -> None:
    """Crawl if wanted, and run the stages up to the evaluation.

    Raises ParamsError if evaluation.themes names no file, on which DVC stops without a reason.
    """
    if params().evaluation.themes is None:
        raise ParamsError(
            "evaluation.themes is null, but in a project with stages it must name a file of judgments: set it to "
            "profiles/themes.json, which has none"
        )
    if with_crawl:
        crawl(lock_fd)
    untrack_outputs()  # else its outputs, which are no edits, would be named
    name_edits()
    reproduce_and_defer(lock_fd)
    dvc.add_batches(lock_fd)
    name_changed_inputs()


def run_later_stages(lock_fd: int) -> list[str]:
    """Run the stages that no index needs; return those whose digests have changed, with which the report is written."""
    before = read_digests(ROOT)
    reproduce(lock_fd)
    after = read_digests(ROOT)
    changed = [name for name in AFTER_RELEASE if after.get(name) != before.get(name)]
    if changed:
        page.assemble(ROOT)
    return changed


def save(summary: str, lock_fd: int) -> None:
    """Commit, push and tag what has changed; then evict the batches that exceed their share of the disk."""
    promotion.commit(summary)
    promotion.push(summary, lock_fd)
    evict_batches()


def failure_text(error: AutoLoraError) -> str:
    """Return the report of a failed refresh: the reason, what is served, what to do, and a failed stage's output."""
    output = f"\n\n```\n{error.output}```" if isinstance(error, StageFailed) else ""
    return f"**{error}**\n\nThe refresh failed. {failure_advice()}{output}"


def failure_advice() -> str:
    """Return which index is served after a failure, and what to do."""
    return " ".join(failure_notice(ROOT, read_last_refresh(ROOT))[1:])


def reproduce_and_defer(lock_fd: int) -> None:
    """Run the stages of a release; if that records new failed items, crawl again, which defers them, and retry."""
    for _ in range(MAX_EXTRA_CRAWLS):
        failed = failed_items.read(ROOT)
        try:
            reproduce(lock_fd, LAST_STAGE)
            return
        except AutoLoraError:
            if failed_items.read(ROOT) == failed:
                raise
        crawl(lock_fd)
    reproduce(lock_fd, LAST_STAGE)


def publish(markdown: str, printed: str | None = None) -> None:
    """Print the result of the refresh, and store it as the Prefect artifact `refresh`.

    printed: what is printed instead, without a reason that `run` prints.
    """
    stage.print_and_log(markdown if printed is None else printed)
    create_markdown_artifact(markdown, key="refresh", description="changes of this refresh")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="autolora refresh", description="Crawl, build, release, report.")
    parser.add_argument(
        "--train", type=date.fromisoformat, metavar="YYYY-MM-DD", help="ask no hub; train until a day"
    )
    run(refresh, guard=False, parse=False, train=parser.parse_args().train)
