from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.pool.site import Site
from tests.support.tiny_pool import make_pool


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A hub on day 1 and a repository whose catalog lists its files; the pool is empty."""
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        crawled = Site(hub, endpoint, tmp_path / "root")
        crawled.crawl()
        yield crawled


@pytest.fixture
def filled(site: Site) -> Site:
    """The same after the stage `pool`; counts of requests start at 0."""
    site.run_pool()
    site.hub.change({"reset": True})
    return site
