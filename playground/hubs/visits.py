"""Nights at the playground's hubs: each crawls one hub and downloads what is new, and what that asks of it is counted.

python -m playground.hubs.visits

The rules are those of params.yaml, but for whole lists every so many nights and the overlap, which are those of
profiles/flux.1-dev.yaml: as shipped, the playground reads whole lists every night.
"""

import datetime
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.hubs import MB
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import CrawlParams, HubParams, HubsParams, load
from playground.hub import SPREAD_DAYS, Hub, running
from playground.hubs.repos import HUBS
from playground.hubs.server import MAIN

ROOT = Path(__file__).parents[2]
FIRST = datetime.date(2026, 1, 5)
NIGHTS, AT_ONCE = 3, 8


@dataclass(frozen=True, slots=True)
class Visit:
    """What one night at one hub asked for, and brought."""

    hub: str
    day: int
    requests: Mapping[str, int]
    """kind -> times"""
    files: Mapping[str, str]
    """URL -> sha256 of what came"""


def rules_of_visits() -> CrawlParams:
    """Return the rules: those of the playground, but for how far back a crawl of the next day looks."""
    real = load(ROOT / "profiles/flux.1-dev.yaml").crawl
    return replace(load(ROOT / "params.yaml").crawl, overlap_h=real.overlap_h, sweep_days=real.sweep_days)


def visits(folder: Path) -> Iterator[Visit]:
    """Visit each hub of the playground on its first days; catalogs and downloads go to a folder for each."""
    served = Hub(ROOT / "playground/pool", day=1, spread_days=SPREAD_DAYS)
    with running(served) as endpoint:
        params = _places(endpoint)
        for hub in HUBS:
            known: set[str] = set()
            for day in range(1, NIGHTS + 1):
                served.change({"day": day, "reset": True})
                files = _live(folder / hub, open_hub(hub, params, {}), day, known)
                yield Visit(hub, day, served.counts.kinds(hub), files)
                known |= files.keys()


def _places(endpoint: str) -> HubsParams:
    """Return where the hubs are, and that they are asked as fast as they answer."""
    at = {api.name: HubParams(endpoint=endpoint + api.prefix) for api in MAIN}
    shipped = replace(load(ROOT / "params.yaml").hubs, requests_per_s=1e6)
    return replace(shipped, civitai=at["civitai"], huggingface=at["huggingface"], modelscope=at["modelscope"])


def _live(root: Path, client: Client, day: int, known: set[str]) -> dict[str, str]:
    """Crawl a hub, make that the catalog, and download what is not known; return URL -> sha256."""
    rules = rules_of_visits()
    today = FIRST + datetime.timedelta(days=day - 1)
    looks = [crawl.look(root, client, rules, today)]
    crawl.write(root, crawl.plan(root, looks, rules, today))
    rows = catalog.catalog(root)
    urls = dict.fromkeys(url for row in rows for url in (row.url, *(one.url for one in row.renderings)))
    new = [url for url in urls if url not in known]

    def fetch(number: int) -> str:
        return client.download(new[number], root / "files" / str(number), int(rules.max_file_mb * MB))

    (root / "files").mkdir(exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(new, pool.map(fetch, range(len(new))), strict=True))


def main() -> None:
    """Print what each night asked of each hub."""
    with tempfile.TemporaryDirectory() as folder:
        for visit in visits(Path(folder)):
            asked = ", ".join(f"{times} {kind}" for kind, times in visit.requests.items())
            print(f"{visit.hub}, day {visit.day}: {asked}; {len(visit.files)} files came")


if __name__ == "__main__":
    main()
