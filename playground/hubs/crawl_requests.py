"""Count the requests of daily crawls: crawl each playground hub on three days, and download what is new.

python -m playground.hubs.crawl_requests

The rules are those of params.yaml, except `overlap_h` and `full_scan_every_days`, which are those of
profiles/flux.1-dev.yaml: with the rules of params.yaml, every crawl of the playground is a full scan.
"""

import datetime
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import CrawlParams, HubParams, HubsParams, load
from autolora.storage.files import MB
from playground.hubs.repos import HUBS
from playground.hubs.server import MAIN, running
from playground.hubs.state import SPREAD_DAYS, Hub

ROOT = Path(__file__).parents[2]
FIRST_DAY = datetime.date(2026, 1, 5)
DAYS, CONCURRENCY = 3, 8


@dataclass(frozen=True, slots=True)
class CrawlDay:
    """Requests and downloads of one day's crawl of one hub."""

    hub: str
    day: int
    requests: Mapping[str, int]
    """kind of request -> count"""
    files: Mapping[str, str]
    """URL -> sha256 of the downloaded file"""


def incremental_rules() -> CrawlParams:
    """Return the playground's crawl rules with the overlap and the interval of full scans of the real profile."""
    real = load(ROOT / "profiles/flux.1-dev.yaml").crawl
    return replace(
        load(ROOT / "params.yaml").crawl,
        overlap_h=real.overlap_h,
        full_scan_every_days=real.full_scan_every_days,
    )


def crawl_days(folder: Path) -> Iterator[CrawlDay]:
    """Crawl each hub of the playground on its first days; catalogs and downloads go to one subfolder per hub."""
    served = Hub(ROOT / "playground/pool", day=1, spread_days=SPREAD_DAYS)
    with running(served) as endpoint:
        params = local_hubs(endpoint)
        for hub in HUBS:
            known: set[str] = set()
            for day in range(1, DAYS + 1):
                served.change({"day": day, "reset": True})
                files = _crawl_day(folder / hub, open_hub(hub, params, {}), day, known)
                yield CrawlDay(hub, day, served.counts.kinds(hub), files)
                known |= files.keys()


def local_hubs(endpoint: str) -> HubsParams:
    """Return the hubs' params with the playground's endpoints and without a rate limit."""
    at = {api.name: HubParams(endpoint=endpoint + api.prefix) for api in MAIN}
    shipped = replace(load(ROOT / "params.yaml").hubs, requests_per_s=1e6)
    return replace(shipped, civitai=at["civitai"], huggingface=at["huggingface"], modelscope=at["modelscope"])


def _crawl_day(root: Path, client: Client, day: int, known: set[str]) -> dict[str, str]:
    """Crawl a hub, write the catalog, and download the files whose URL is not known; return URL -> sha256."""
    rules = incremental_rules()
    today = FIRST_DAY + datetime.timedelta(days=day - 1)
    scans = [crawl.scan_hub(root, client, rules, today)]
    crawl.write(root, crawl.reconcile(root, scans, rules, today))
    rows = catalog.read_active(root)
    urls = dict.fromkeys(
        url for row in rows for url in (row.url, *(rendering.url for rendering in row.renderings))
    )
    new = [url for url in urls if url not in known]

    def fetch(number: int) -> str:
        return client.download(new[number], root / "files" / str(number), int(rules.max_file_mb * MB))

    (root / "files").mkdir(exist_ok=True)
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return dict(zip(new, pool.map(fetch, range(len(new))), strict=True))


def main() -> None:
    """Print the requests of each day to each hub."""
    with tempfile.TemporaryDirectory() as folder:
        for crawl_day in crawl_days(Path(folder)):
            requests = ", ".join(f"{count} {kind}" for kind, count in crawl_day.requests.items())
            downloads = f"{len(crawl_day.files)} files downloaded"
            print(f"{crawl_day.hub}, day {crawl_day.day}: {requests}; {downloads}")


if __name__ == "__main__":
    main()
