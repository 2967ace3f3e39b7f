"""The tiny world of these tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from autolora.params import load
from studies.paper.world import World, open_world
from tests.support import paper_world


@pytest.fixture(scope="session")
def world_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paper_world.build(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def world(world_root: Path) -> Iterator[World]:
    yield open_world(world_root, load(world_root / "params.yaml"))
