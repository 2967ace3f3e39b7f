"""The stage `crawl`: look at the hubs and write down what they list."""

import datetime
import os
import time

import prefect

from autolora import crawl as stage
from autolora.errors import ParamsError
from autolora.hubs.directory import open_hub
from autolora.params import Params
from autolora.records import Listing
from flows.stage import ROOT, params, run, task


@task(retries=1, retry_delay_seconds=[2])
def look(name: str, values: Params, day: datetime.date) -> list[Listing]:
    """Ask one hub what it lists."""
    hub = open_hub(name, values.hubs, os.environ.get("HF_TOKEN"))
    return stage.look(ROOT, hub, values.crawl, day)


@task()
def write(found: list[list[Listing]], values: Params) -> int:
    """Write the catalog and return how many files it lists."""
    return len(stage.write(ROOT, (listing for listings in found for listing in listings), values.crawl))


@prefect.flow(name="crawl")
async def crawl() -> None:
    """Write the catalog; it stays as it is when a hub fails."""
    if stage.restore(ROOT):
        print("[crawl] data/catalog.jsonl was missing and is back as committed; no hub was asked", flush=True)
        return
    values, day, started = params(), today(), time.perf_counter()
    found = [future.result() for future in [look.submit(name, values, day) for name in values.crawl.hubs]]
    files = write(found, values)
    seconds = time.perf_counter() - started
    print(
        f"[crawl] {files} files in the catalog of {day}; {len(found)} hub(s) asked in {seconds:.1f} s",
        flush=True,
    )


def today() -> datetime.date:
    """Return the day (UTC) that SOURCE_DATE_EPOCH names, or the clock's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = time.time() if epoch is None else int(epoch)
    except ValueError as error:
        raise ParamsError(f"SOURCE_DATE_EPOCH is {epoch!r} but must be seconds since 1970") from error
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date()


if __name__ == "__main__":
    run(crawl)
