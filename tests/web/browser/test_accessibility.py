"""Every page by keyboard alone, and without violations in both color schemes and at 400 px."""

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser.visits import NARROW, SCHEMES, WIDE, check, close, open_page, wait_for_results

pytestmark = pytest.mark.slow


def test_the_keyboard_is_enough(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+rocket")
    page.locator("body").click(position={"x": 1, "y": 1})
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.press("Backspace")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_have_value("")
    page.keyboard.type("a rocket/")
    expect(page.locator("#q")).to_have_value("a rocket/")
    wait_for_results(page, "?q=a+rocket%2F")
    page.keyboard.press("Backspace")
    wait_for_results(page, "?q=a+rocket")
    expect(page.locator(".card .name").first).to_have_text("rocket")
    cards = page.locator(".card .face")
    page.keyboard.press("ArrowDown")
    expect(cards.nth(0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#tray")).to_be_visible()
    expect(cards.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(cards.nth(5)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cards.nth(5)).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.locator("#q")).to_be_focused()
    close(page)


PATHS = ("", "?q=a+cat&nsfw=1", "generate?q=a+cat", "pool", "?q=a+cat&max_rank=1")


@SCHEMES
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "400 px"])
def test_pages_are_accessible_and_fit(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> None:
    for path in PATHS:
        page = open_page(browser, url, size, scheme)
        page.goto(url + path)
        check(page, path)
        close(page)


@SCHEMES
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "400 px"])
def test_details_are_accessible_and_fit(
    browser: Browser, url: str, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(browser, f"{url}?q=a+cat", size, scheme)
    page.locator(".card .pick").first.click()
    expect(page.locator("#tray")).to_be_visible()
    check(page, "tray")
    page.locator(".card .face").first.click()
    expect(page.get_by_role("heading", name="Use it")).to_be_visible()
    check(page, "details")
    close(page)
