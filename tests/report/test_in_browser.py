"""The report in a real browser: accessibility, two screens, narrow screens, print, and nothing loaded.

Needs Debian's chromium (tests/support/programs.py).
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from autolora.refresh.last_refresh import record_failure, record_start
from autolora.releases.checks import Check, Decision, record
from autolora.report.page import assemble
from tests.support.programs import chromium
from tests.support.report_root import DAY
from tests.support.waiting import LIMIT_S

NIGHT = datetime(2026, 1, 4, 2, tzinfo=UTC)
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


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


def test_page_of_a_refused_refresh_fits_two_screens(browser: Browser, full: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    check = Check(
        name="files refused", hub="civitai", value=17, trials=20, rule="at most 6", passed=False,
        detail="civitai:1, civitai:2, civitai:3 and 14 more",
    )  # fmt: skip
    for days, verdict in ((1, "promoted"), (2, "promoted"), (3, "refused")):
        day = DAY + timedelta(days=days)
        checks = (replace(check, hub="modelscope"), check)
        record(root, Decision(day=day, index="b" * 64, former=None, verdict=verdict, checks=checks))
    record_start(root, NIGHT)
    record_failure(root, NIGHT, "PromotionRefused: refused", is_refused=True)
    assemble(root)
    opened = Opened(browser, root, WIDE)
    assert opened.page.evaluate("document.documentElement.scrollHeight") <= 2 * WIDE["height"]
    assert "on the nights before: 17 of 20, 17 of 20" in opened.page.inner_text(".problem")
    assert opened.violations() == []


def test_every_printed_image_has_a_height(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE, "dark").page
    page.emulate_media(media="print")
    heights = page.evaluate("[...document.images].map((image) => image.height)")
    assert len(heights) == 8 and min(heights) > 8
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 28, 31)"
