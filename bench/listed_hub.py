"""A loopback hub that lists as many models as Hugging Face has LoRAs of FLUX.1-dev, and daily crawls of it.

The models have files without content, so that nothing can be downloaded.
"""

import gc
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import CrawlParams, Params, load
from autolora.planning import data_stages
from autolora.planning.cost import StageCost
from autolora.planning.plan import make_setting
from autolora.storage.hashes import hash_value
from bench.big_pool import PROJECT
from bench.timing import timed
from playground.hubs.crawl_requests import local_hubs
from playground.hubs.repos import Blob, Commit, Repo
from playground.hubs.server import running
from playground.hubs.state import Hub

HUB = "huggingface"
FIRST_DAY = date(2026, 6, 1)
PAGE_SIZE = 100
AGE = timedelta(minutes=35)
"""between two models: 30,000 of them were published in two years"""
IMAGES = 5
"""of each model"""
FILE_BYTES = 160_000_000
"""of a LoRA of rank 16"""


@dataclass(frozen=True, slots=True)
class CrawlResult:
    """One daily crawl."""

    requests: int
    seconds: float
    active: int
    queued: int
    catalog_mb: float


def measured_params(newest: int | None, files: int, requests_per_s: float) -> Params:
    """Return the params of profiles/flux.1-dev.yaml with this `newest`, crawl.max_new_files, and rate."""
    params = load(PROJECT / "profiles/flux.1-dev.yaml")
    rules = replace(params.crawl, newest=newest, max_new_files=files, min_free_gb=None)
    return replace(params, crawl=rules, hubs=replace(params.hubs, requests_per_s=requests_per_s))


def plan(params: Params, listed: int, adapters: int) -> StageCost:
    """Return what `autolora plan --listed` says about the crawls until so many adapters are admitted."""
    return data_stages.crawl(make_setting(params, None, adapters, IMAGES, listed))


def crawl_daily(params: Params, listed: int, news: int) -> Iterator[CrawlResult]:
    """Crawl a hub of so many models every day, until nothing is queued. news: models published per day."""
    with tempfile.TemporaryDirectory() as folder:
        root, served = Path(folder) / "root", _hub(Path(folder), listed)
        with running(served) as endpoint:
            hubs = replace(local_hubs(endpoint), requests_per_s=params.hubs.requests_per_s)
            client = open_hub(HUB, hubs, {})
            for day in count():
                today = FIRST_DAY + timedelta(days=day)
                _publish(served, news if day else 0, today)
                served.change({"reset": True})
                seconds, _ = timed(partial(_crawl, root, client, params.crawl, today))
                yield (result := _result(root, sum(served.counts.kinds(HUB).values()), seconds))
                if not result.queued:
                    return


def _hub(folder: Path, listed: int) -> Hub:
    """Return a hub of so many models, the newest of which was published on FIRST_DAY."""
    (folder / "schedule.jsonl").touch()
    served, newest = Hub(folder, day=1, page_size=PAGE_SIZE), _midnight(FIRST_DAY)
    repos = (_repo(number, newest - number * AGE) for number in range(listed))
    served.repos = {repo.id: repo for repo in repos}
    gc.freeze()  # the collector would look at millions of objects during each page of the list
    return served


def _publish(served: Hub, number: int, today: date) -> None:
    """Publish further models, one minute apart."""
    for index in range(number):
        served.add_repo(_repo(len(served.repos), _midnight(today) - index * timedelta(minutes=1)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def _crawl(root: Path, client: Client, rules: CrawlParams, today: date) -> None:
    scan = crawl.scan_hub(root, client, rules, today)
    crawl.write(root, crawl.reconcile(root, [scan], rules, today))


def _result(root: Path, requests: int, seconds: float) -> CrawlResult:
    statuses = [row.status for row in catalog.read_all(root)]
    size = sum(path.stat().st_size for path in catalog.catalog_files(root))
    return CrawlResult(requests, seconds, statuses.count("listed"), statuses.count("queued"), size / 1e6)


def _repo(number: int, updated: datetime) -> Repo:
    """Return a model with a file of weights and images; its card is that of a LoRA of FLUX.1-dev."""
    name = f"author{number % 5000}/lora-{number}"
    created = f"{updated:%Y-%m-%dT%H:%M:%S}.000Z"
    images = [f"images/{image}.png" for image in range(IMAGES)]
    sizes = {"lora.safetensors": FILE_BYTES} | dict.fromkeys(images, 1_500_000)
    blobs = {path: _blob(f"{name}/{path}", size) for path, size in sizes.items()}
    card = {
        "license": "other",
        "base_model": "black-forest-labs/FLUX.1-dev",
        "tags": ["lora", "flux", "text-to-image"],
        "instance_prompt": f"trigger{number}",
        "widget": [
            {"text": f"trigger{number}, a scene of the theme", "output": {"url": url}} for url in images
        ],
    }
    repo = Repo(name, 1, created, number % 997, (HUB,), {}, created)
    repo.commits.append(Commit(hash_value(name)[:40], created, blobs, card))
    return repo


def _blob(path: str, size: int) -> Blob:
    return Blob(size, hash_value(path), hash_value(path)[:40], 133, b"")
