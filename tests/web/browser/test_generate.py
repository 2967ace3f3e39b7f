"""Generating in a browser: by mouse and keyboard, with provenance."""

import pytest
from playwright.sync_api import Browser, expect

from tests.web.browser.visits import check, close, generate, open_page, wait_for_results

pytestmark = pytest.mark.slow


def test_an_image_is_generated_and_says_how_it_was_made(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    page.locator(".card .pick").first.click()
    page.get_by_role("link", name="Generate with 1").click()
    figure = generate(page, lambda: page.get_by_role("button", name="Generate").click())
    with page.expect_download() as download:
        figure.get_by_role("link", name="Download the PNG").click()
    image = download.value.path()
    page.goto(url)
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": image.read_bytes()})
    expect(page.get_by_role("heading", name="How this image was made")).to_be_visible()
    expect(page.locator("#adapter")).to_contain_text("a cat")
    page.get_by_role("link", name="Generate it again").click()
    expect(page.locator("textarea")).to_have_value("a cat")
    close(page)


def test_the_tabs_keep_what_is_typed_and_selected(browser: Browser, url: str) -> None:
    page = open_page(browser, url)
    page.keyboard.type("a rocket")
    wait_for_results(page, "?q=a+rocket")
    page.locator(".card .pick").first.click()
    expect(page.locator("#tray")).to_be_visible()
    page.get_by_role("link", name="Generate", exact=True).click()
    expect(page.locator("textarea")).to_have_value("a rocket")
    expect(page.locator(".chosen")).to_have_count(1)
    page.locator("textarea").fill("a red rocket")
    page.get_by_role("link", name="Search", exact=True).click()
    expect(page.locator("#q")).to_have_value("a red rocket")
    expect(page.locator("#tray")).to_be_visible()
    close(page)


@pytest.mark.usefixtures("no_gates")
def test_a_failed_image_is_removed(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    for pick in page.locator(".card .pick").all()[:3]:
        pick.click()
    page.get_by_role("link", name="Generate with 3").click()
    page.get_by_label("Method").select_option("gated")
    images = page.locator("#images figure")
    made = images.count()
    page.get_by_role("button", name="Generate").click()
    expect(images.first).to_have_attribute("data-state", "failed")
    check(page, "generate")
    images.first.get_by_role("button", name="Remove").click()
    expect(images).to_have_count(made)
    page.reload()
    expect(images).to_have_count(made)
    close(page)


def test_enter_generates_and_shift_enter_starts_a_line(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}generate")
    prompt = page.locator("textarea")
    expect(prompt).to_be_focused()
    page.get_by_label("None: the base model alone").check()
    prompt.focus()
    page.keyboard.type("a cat")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("on a hill")
    expect(prompt).to_have_value("a cat\non a hill")
    generate(page, lambda: page.keyboard.press("Enter"))
    close(page)
