"""Debian's Chromium, started once per module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support.programs import chromium
from tests.support.waiting import LIMIT_S


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Chromium."""
    expect.set_options(timeout=1000 * LIMIT_S)
    with chromium() as browser:
        yield browser
