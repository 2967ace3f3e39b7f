"""Fixtures for the tests of the crawl."""

from pathlib import Path

import pytest

from tests.support.two_hubs import TwoHubs


@pytest.fixture
def hubs(tmp_path: Path) -> TwoHubs:
    return TwoHubs(tmp_path)
