"""Debian's Chromium, started once per module: the event loop of Playwright would disturb other tests."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.waiting import LIMIT_S

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return Chromium. Without it the tests are skipped, but in continuous integration they fail."""
    path = shutil.which("chromium")
    if path is None and not os.environ.get("CI"):
        pytest.skip("needs chromium: apt-get install chromium")
    assert path is not None, "chromium is missing: .ci/run installs it"
    expect.set_options(timeout=1000 * LIMIT_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS], timeout=1000 * LIMIT_S)
        yield browser
        browser.close()
