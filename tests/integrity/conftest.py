from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.integrity.versioned_repository import ROOT, VersionedRepository, build, copy
from tests.pool.site import Site
from tests.support.tiny_pool import make_pool


@pytest.fixture(scope="session")
def hub_and_template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, VersionedRepository]]:
    """A running hub and an intact repository with its files."""
    folder = tmp_path_factory.mktemp("versioned")
    hub = Hub(make_pool(folder / "hub"), day=1)
    with running(hub) as endpoint:
        site = Site(hub, endpoint, folder / "root")
        site.crawl()
        yield hub, build(site, folder)


@pytest.fixture(autouse=True, scope="session")
def flows() -> Iterator[None]:
    """Let processes in these repositories import the flows, of which they have no copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture
def hub(hub_and_template: tuple[Hub, VersionedRepository]) -> Hub:
    """The hub whose files the repository contains."""
    return hub_and_template[0]


@pytest.fixture
def repository(hub_and_template: tuple[Hub, VersionedRepository], tmp_path: Path) -> VersionedRepository:
    """An intact repository with its hub, and without a remote."""
    return copy(hub_and_template[1], tmp_path / "repository")
