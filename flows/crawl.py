"""The stage `crawl`: scan the hubs and write the catalog."""

import datetime
import os
import time

from autolora.catalog import store as catalog
from autolora.clock import today
from autolora.crawl import stage
from autolora.crawl.scan import HubScan
from autolora.errors import HubError
from autolora.hubs.registry import open_hub, tokens_from_environment
from autolora.params import Params
from autolora.refresh import crawl_summary as summary
from flows.stage import ROOT, flow, params, print_and_log, report, run, task


@task(retries=1, retry_delay_seconds=[2])
def scan_hub(name: str, values: Params, day: datetime.date) -> HubScan:
    """Return the scan of one hub."""
    hub = open_hub(name, values.hubs, tokens_from_environment(os.environ))
    return stage.scan_hub(ROOT, hub, values.crawl, day)


@flow(name="crawl")
def crawl() -> None:
    """Scan the hubs, write the catalog and advance the watermarks.

    The listings of a hub that fails stay; if all hubs fail, the catalog is not changed.
    """
    if stage.restore(ROOT):
        print_line(summary.RESTORED)
        return
    values, day, started = params(), today(), time.perf_counter()
    plan = stage.reconcile(ROOT, scan_hubs(values, day), values.crawl, day)
    stage.write(ROOT, plan)
    summary.keep_problems(ROOT, plan)
    report(**summary.changed_files(plan), digest=catalog.digest(ROOT))
    print_line(summary.catalog_line(plan, time.perf_counter() - started))
    for line in (*summary.problem_lines(plan), *summary.taken_down_lines(plan)):
        print_line(line)


def scan_hubs(values: Params, day: datetime.date) -> list[HubScan]:
    """Scan all hubs in parallel."""
    futures = {name: scan_hub.submit(name, values, day) for name in values.crawl.hubs}
    scans = []
    for name, future in futures.items():
        try:
            scans.append(future.result())
        except HubError as error:
            scans.append(stage.keep_stale(ROOT, name, values.crawl, error))
    return scans


def print_line(line: str) -> None:
    """Print and log a line of this stage."""
    print_and_log(f"[crawl] {line}")


if __name__ == "__main__":
    run(crawl)
