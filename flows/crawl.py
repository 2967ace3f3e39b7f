"""The stage `crawl`: scan the hubs and write the catalog; or, with `dry_run`, print the downloads that would follow."""

import argparse
import datetime
import os
import time

from autolora.catalog import store as catalog
from autolora.clock import today
from autolora.crawl import stage
from autolora.crawl.plan import CatalogPlan
from autolora.crawl.scan import HubScan
from autolora.errors import HubError
from autolora.hubs.registry import open_hub, tokens_from_environment
from autolora.params import Params
from autolora.refresh import crawl_summary as summary
from flows.stage import ROOT, flow, params, print_and_log, report, run, task


@task(retries=1, retry_delay_seconds=[2])
def scan_hub(name: str, values: Params, day: datetime.date, write_journal: bool = True) -> HubScan:
    """Return the scan of one hub."""
    hub = open_hub(name, values.hubs, tokens_from_environment(os.environ))
    return stage.scan_hub(ROOT, hub, values.crawl, day, write_journal)


@flow(name="crawl")
def crawl(dry_run: bool = False) -> None:
    """Write the catalog. The listings of a hub that fails stay; if all hubs fail, the catalog is not changed."""
    if dry_run:
        report(dry_run="yes")
        print_downloads()
    else:
        write_catalog()


def write_catalog() -> None:
    """Scan the hubs, write the catalog and advance the watermarks."""
    if stage.restore(ROOT):
        print_line(summary.RESTORED)
        return
    values, day, started = params(), today(), time.perf_counter()
    plan = scan_and_plan(values, day)
    stage.write(ROOT, plan)
    summary.keep_problems(ROOT, plan)
    report(**summary.changed_files(plan), digest=catalog.digest(ROOT))
    print_line(summary.catalog_line(plan, time.perf_counter() - started))
    report_problems(plan, values)


def print_downloads() -> None:
    """Print what the stage `pool` would download after a crawl; write nothing."""
    from autolora.pool.forecast import forecast

    if catalog.restorable(ROOT):
        print_line(summary.WOULD_RESTORE)
        return
    values, day = params(), today()
    plan = scan_and_plan(values, day, write_journal=False)
    downloads = forecast(ROOT, plan.listings, values.crawl)
    print(summary.table_text(summary.downloads_table(plan, downloads, values.crawl.hubs)), end="")
    report_problems(plan, values)


def scan_and_plan(values: Params, day: datetime.date, write_journal: bool = True) -> CatalogPlan:
    """Scan all hubs in parallel and return the next catalog."""
    futures = {name: scan_hub.submit(name, values, day, write_journal) for name in values.crawl.hubs}
    scans = []
    for name, future in futures.items():
        try:
            scans.append(future.result())
        except HubError as error:
            scans.append(stage.keep_stale(ROOT, name, values.crawl, error))
    return stage.reconcile(ROOT, scans, values.crawl, day)


def report_problems(plan: CatalogPlan, values: Params) -> None:
    """Write the lines that may need attention to Prefect's log and to the terminal."""
    for line in summary.report_lines(plan, values.crawl.hubs):
        print_line(line)


def print_line(line: str) -> None:
    """Print and log a line of this stage."""
    print_and_log(f"[crawl] {line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="autolora crawl", description=crawl.__doc__)
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be downloaded; write nothing"
    )
    dry_run: bool = parser.parse_args().dry_run
    run(crawl, parse=False, guard=not dry_run, dry_run=dry_run)
