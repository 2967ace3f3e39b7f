"""A loopback hub that lists as many models as Hugging Face has LoRAs of FLUX.1-dev, and nightly crawls of it.

The models have files without content, so that nothing can be downloaded.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.hubs.registry import open_hub
from autolora.params import Params, load
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
FIRST_NIGHT = date(2026, 6, 1)
PAGE_SIZE = 100
AGE = timedelta(minutes=35)
"""between two models: 30,000 of them were published in two years"""
IMAGES = 5
"""of each model"""
FILE_BYTES = 160_000_000
"""of a LoRA of rank 16"""


@dataclass(frozen=True, slots=True)
class Night:
    """One nightly crawl."""

    requests: int
    seconds: float
    active: int
    queued: int
    catalog_mb: float


def measured_params(newest: int, files: int, requests_per_s: float) -> Params:
    """Return the params of profiles/flux.1-dev.yaml with this `newest`, daily budget of files, and rate."""
    params = load(PROJECT / "profiles/flux.1-dev.yaml")
    rules = replace(params.crawl, newest=newest, budget=replace(params.crawl.budget, files=files))
    return replace(params, crawl=rules, hubs=replace(params.hubs, requests_per_s=requests_per_s))


def plan(params: Params, listed: int, adapters: int) -> StageCost:
    """Return what `autolora plan --listed` says about the crawls until so many adapters are admitted."""
    return data_stages.crawl(make_setting(params, None, adapters, IMAGES, listed))


def crawl_nights(params: Params, listed: int, news: int) -> Iterator[Night]:
    """Crawl a hub of so many models every night, until nothing is queued. news: models published per day."""
    with tempfile.TemporaryDirectory() as folder:
        root, pool = Path(folder) / "root", Path(folder) / "pool"
        pool.mkdir()
        (pool / "schedule.jsonl").touch()
        served = Hub(pool, day=1, page_size=PAGE_SIZE)
        newest = datetime.combine(FIRST_NIGHT, datetime.min.time(), UTC)
        dates = [newest - number * AGE for number in range(listed)]
        served.repos = {repo.id: repo for repo in map(_repo, range(listed), dates)}
        with running(served) as endpoint:
            hubs = replace(local_hubs(endpoint), requests_per_s=params.hubs.requests_per_s)
            client = open_hub(HUB, hubs, {})
            for night in count():
                today = FIRST_NIGHT + timedelta(days=night)
                served.change({"reset": True})

                def crawl_once(today: date = today) -> None:
                    scan = crawl.scan_hub(root, client, params.crawl, today)
                    crawl.write(root, crawl.reconcile(root, [scan], params.crawl, today))

                seconds, _ = timed(crawl_once)
                yield (result := _night(root, sum(served.counts.kinds(HUB).values()), seconds))
                if not result.queued:
                    return
                start = len(served.repos)
                now = newest + (night + 1) * timedelta(days=1)
                for number in range(start, start + news):
                    served.add_repo(_repo(number, now - (number - start) * timedelta(minutes=1)))


def _night(root: Path, requests: int, seconds: float) -> Night:
    statuses = [row.status for row in catalog.read_all(root)]
    size = catalog.catalog_path(root).stat().st_size
    return Night(requests, seconds, statuses.count("listed"), statuses.count("queued"), size / 1e6)


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
