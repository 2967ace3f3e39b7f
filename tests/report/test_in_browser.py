"""The report in a real browser: accessibility, two screens, narrow screens, print, and nothing loaded.

Needs Debian's chromium.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.waiting import LIMIT_S

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=1000 * LIMIT_S)
        yield browser
        browser.close()


class Opened:
    """The page in a tab, and what it reported."""

    def __init__(self, browser: Browser, root: Path, viewport: dict[str, int], scheme: str = "light") -> None:
        context = browser.new_context(viewport=viewport, color_scheme=scheme)  # type: ignore[arg-type]
        context.set_default_timeout(1000 * LIMIT_S)
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.page.goto((root / "reports" / "index.html").as_uri())

    def violations(self) -> list[str]:
        """Return what axe finds."""
        return [
            f"{row['id']}: {row['nodes'][0]['target']}" for row in Axe().run(self.page).response["violations"]
        ]


@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"])
def test_axe_finds_nothing_closed_and_open(
    browser: Browser, full: Path, viewport: dict[str, int], scheme: str
) -> None:
    opened = Opened(browser, full, viewport, scheme)
    assert {url.partition(":")[0] for url in opened.loaded} <= {"file", "data"}
    assert opened.violations() == []
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    assert opened.violations() == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert opened.problems == []


def test_page_fits_two_screens(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * WIDE["height"]
    assert page.evaluate("document.getElementById('refused').getBoundingClientRect().top") < WIDE["height"]


def test_every_printed_image_has_a_height(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE, "dark").page
    page.emulate_media(media="print")
    heights = page.evaluate("[...document.images].map((image) => image.height)")
    assert len(heights) == 8 and min(heights) > 8
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 28, 31)"
