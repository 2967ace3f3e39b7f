"""The page in a real browser: accessibility, keyboard, narrow screens, copy buttons, print, and nothing loaded.

Needs Debian's chromium.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from autolora.report.page import assemble
from tests.support.report_root import write_pool
from tests.support.waiting import LIMIT_S
from tests.web.browser.visits import NEXT_MESSAGE

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * LIMIT_S)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=1000 * LIMIT_S)
        yield browser
        browser.close()


class Opened:
    """The page in a tab, and what it reported."""

    def __init__(self, browser: Browser, root: Path, viewport: dict[str, int], scheme: str = "light") -> None:
        context = browser.new_context(
            viewport=viewport, color_scheme=scheme, permissions=["clipboard-read", "clipboard-write"]
        )  # type: ignore[arg-type]
        context.set_default_timeout(1000 * LIMIT_S)
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.loaded: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.url = (root / "reports" / "index.html").as_uri()
        self.page.goto(self.url)

    def violations(self) -> list[str]:
        """Return what axe finds."""
        return [
            f"{row['id']}: {row['nodes'][0]['target']}" for row in Axe().run(self.page).response["violations"]
        ]


@pytest.mark.parametrize(("viewport", "scheme"), [(WIDE, "light"), (NARROW, "dark")], ids=["wide", "narrow"])
def test_axe_finds_nothing_closed_open_and_in_the_detail(
    browser: Browser, full: Path, viewport: dict[str, int], scheme: str
) -> None:
    opened = Opened(browser, full, viewport, scheme)
    assert opened.violations() == []
    opened.page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
    assert opened.violations() == []
    opened.page.evaluate("location.hash = adapters[0].key")
    opened.page.wait_for_selector("dialog[open] h2")
    assert opened.violations() == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    assert opened.problems == []
    assert {url.partition(":")[0] for url in opened.loaded} <= {"file", "data"}


def test_narrow_page_is_not_much_longer_than_its_cards(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, NARROW).page
    assert page.evaluate("document.documentElement.scrollHeight") < 8000
    assert page.evaluate("document.getElementById('browse').getBoundingClientRect().top") < 2500


def test_filter_by_words_and_by_a_field(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    cards = page.locator("#cards .card")
    assert cards.count() == 14
    page.fill("#text", "mosaic author1")
    assert cards.count() >= 1 and page.locator("#cards .name").first.inner_text().startswith("mosaic")
    page.fill("#text", "no such words anywhere")
    assert cards.count() == 0 and "autolora search" in page.inner_text("#count")
    page.fill("#text", "")
    page.select_option("#code", "=pickle")
    assert cards.count() == 2 and "refused: pickle" in cards.first.inner_text()


def test_keyboard_opens_an_adapter_and_closes_it(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the adapters"
    page.locator("#cards .face").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] h2")
    assert page.evaluate("location.hash").startswith("#/")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    expect(page).to_have_url(re.compile("index.html#?$"))


def test_copy_buttons_copy_hostile_texts_unchanged(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    page.evaluate("location.hash = adapters.find((a) => a.triggers.length).key")
    page.evaluate(NEXT_MESSAGE)
    page.locator("dialog[open]").get_by_role("button", name="trigger words", exact=True).click()
    assert page.evaluate("nextMessage").startswith("Copied")
    expected = page.evaluate("adapters.find((a) => a.triggers.length).triggers.join(', ')")
    assert page.evaluate("navigator.clipboard.readText()") == expected
    assert "<script>" in expected


def test_image_that_is_not_safe_for_work_is_shown_on_request_only(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    veiled = page.locator("#cards .veil img").first
    expect(veiled).to_have_css("visibility", "hidden")
    page.check("#reveal")
    expect(veiled).to_have_css("visibility", "visible")


def test_link_to_folded_details_opens_them(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE).page
    page.evaluate("location.hash = 'retrieval'")
    expect(page.locator("#retrieval")).to_have_attribute("open", "")


def test_every_printed_image_has_a_height(browser: Browser, full: Path) -> None:
    page = Opened(browser, full, WIDE, "dark").page
    page.emulate_media(media="print")
    heights = page.evaluate(
        "[...document.images].filter((image) => image.getClientRects().length).map((image) => image.height)"
    )
    assert len(heights) > 20 and min(heights) > 8
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 28, 31)"


def test_page_of_a_large_pool_loads_its_images_from_files(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolora.report.page.MAX_EMBEDDED", 1)
    write_pool(tmp_path, adapters=4)
    assemble(tmp_path)
    opened = Opened(browser, tmp_path, WIDE)
    opened.page.evaluate("Promise.any([...document.images].map((image) => image.decode()))")
    assert any("/reports/images/" in url for url in opened.loaded)
    assert opened.problems == []
