"""Programs of Debian that tests need. Without them the tests are skipped; in continuous integration they fail."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.waiting import LIMIT_S

OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


def require(is_installed: bool, package: str) -> None:
    """Skip the test if a package is not installed; fail if CI is set, because .ci/run installs it."""
    if not is_installed and not os.environ.get("CI"):
        pytest.skip(f"needs {package}: apt-get install {package}")
    assert is_installed, f"{package} is missing: .ci/run installs it"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium until the block ends; per module, because Playwright's event loop disturbs other tests."""
    path = shutil.which("chromium")
    require(path is not None, "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*OPTIONS], timeout=1000 * LIMIT_S)
        yield browser
        browser.close()
