"""Visits of the page: opening it, waiting for what it does, and what must be true of every page."""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.waiting import LIMIT_S

SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDE, NARROW = (1280, 900), (400, 800)
SHA256 = re.compile("adapter=[0-9a-f]{64}")
NEXT_MESSAGE = """() => {
    globalThis.nextMessage = new Promise((take) => {
        new MutationObserver(() => take(said.textContent)).observe(said, { childList: true });
    });
}"""
"""the promise `nextMessage`: a message disappears after two seconds"""


def open_page(browser: Browser, url: str, size: tuple[int, int] = WIDE, scheme: str = "light") -> Page:
    """Return a page that must cause no error and load nothing from elsewhere."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page.set_default_timeout(1000 * LIMIT_S)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    origin = re.match(r"http://[^/]+/", url)
    assert origin is not None
    page.on(
        "request", lambda request: None if request.url.startswith(origin[0]) else problems.append(request.url)
    )
    page.problems = problems  # type: ignore[attr-defined]
    page.goto(url)
    return page


def close(page: Page) -> None:
    """Close a page and fail if anything went wrong on it."""
    problems = page.problems  # type: ignore[attr-defined]
    page.close()
    assert not problems


def wait_for_results(page: Page, query: str) -> None:
    """Wait until the results of a query, as the URL states it, are on the page."""
    expect(page).to_have_url(re.compile(f"{re.escape(query)}$"))
    expect(page.locator("#results.waiting")).to_have_count(0)


def generate(page: Page, submit: Callable[[], None]) -> Locator:
    """Submit the form and return the new image, which comes before those of earlier tests, when it is done."""
    figures = page.locator("#images figure")
    made = figures.count()  # the server has written them into the page
    submit()
    expect(figures).to_have_count(made + 1)
    expect(figures.first).to_have_attribute("data-state", "done")
    return figures.first


def check(page: Page, path: str) -> None:
    """Fail if axe finds a violation, or the page scrolls sideways."""
    results = Axe().run(page)
    assert results.violations_count == 0, f"{path}: {results.generate_report()}"
    width = page.evaluate("document.documentElement.scrollWidth")
    assert page.viewport_size is not None and width <= page.viewport_size["width"], path
