"""The page in Debian's Chromium: what visitors do, by mouse and keyboard, in both color schemes and at 400 px."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from autolora.pool import store as pool
from tests.support.waiting import LIMIT_S

pytestmark = pytest.mark.slow
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])
WIDE, NARROW = (1280, 900), (400, 800)
SHA256 = re.compile("adapter=[0-9a-f]{64}")
NEXT_MESSAGE = """() => {
    globalThis.nextMessage = new Promise((take) => {
        new MutationObserver(() => take(said.textContent)).observe(said, { childList: true });
    });
}"""
"""the promise `nextMessage`: a message disappears after two seconds"""


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


def test_answers_appear_while_typing_and_the_url_states_them(browser: Browser, url: str) -> None:
    page = open_page(browser, url)
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("a rocket")
    wait_for_results(page, "?q=a+rocket")
    expect(page.locator(".card .name").first).to_have_text("rocket")
    page.reload()
    expect(page.locator("#q")).to_have_value("a rocket")
    expect(page.locator(".card .name").first).to_have_text("rocket")
    close(page)


def test_a_filter_narrows_the_results_and_back_widens_them(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+neon")
    page.get_by_text("Show NSFW").click()
    expect(page.locator(".passing")).to_contain_text("12 of 12")
    page.get_by_text("More filters").click()
    page.get_by_label("Rank at most").fill("1")
    page.get_by_label("Rank at most").press("Tab")
    expect(page.get_by_text("No adapter passes these filters")).to_be_visible()
    page.go_back()
    expect(page.locator(".card").first).to_be_visible()
    expect(page.get_by_label("Rank at most")).to_have_value("")
    page.go_back()
    expect(page.locator(".passing")).to_contain_text("11 of 12")
    close(page)


def test_back_before_the_answer_leaves_the_former_results(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+neon")
    page.route(re.compile("/parts/results.*nsfw=1"), lambda route: None)  # is never answered
    page.get_by_text("Show NSFW").click()
    expect(page.locator("#results.waiting")).to_have_count(1)
    page.go_back()
    wait_for_results(page, "?q=a+neon")
    expect(page.get_by_label("Show NSFW")).not_to_be_checked()
    close(page)


def test_back_before_the_details_arrive_does_not_open_them(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    page.route("**/parts/adapters/*", lambda route: None)  # is never answered
    with page.expect_request("**/parts/adapters/*"):
        page.locator(".card .face").first.click()
    with page.expect_event("requestfailed", lambda request: "/parts/adapters/" in request.url):
        page.go_back()
    expect(page.locator("#details")).to_be_hidden()
    close(page)


def test_details_say_why_and_back_closes_them(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    page.locator(".card .face").first.click()
    expect(page.get_by_role("heading", name="Why this one")).to_be_visible()
    expect(page.locator("mark").first).to_have_text("cat")
    expect(page).to_have_url(SHA256)
    page.go_back()
    expect(page.locator("#details")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#details")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    expect(page).not_to_have_url(SHA256)
    close(page)


def test_texts_are_copied(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator(".card .face").first.click()
    page.evaluate(NEXT_MESSAGE)
    page.get_by_role("button", name="<lora:lora:1>").click()
    assert page.evaluate("nextMessage").startswith("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("<lora:lora:1> zq")
    close(page)


def test_a_dropped_file_finds_its_like(browser: Browser, url: str, root: Path) -> None:
    page = open_page(browser, f"{url}?q=a+mosaic")
    sha256 = page.locator(".card").first.get_attribute("data-sha256") or ""
    page.goto(url)
    content = list(pool.weights_path(root, sha256).read_bytes())
    drop = """content => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(content)], "mine.safetensors"));
        for (const type of ["dragenter", "dragover", "drop"])
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(drop, content)
    page.wait_for_url("**/?file=*")
    expect(page.locator(".found")).to_contain_text("More like mine.safetensors")
    expect(page.locator(".card").first).to_have_attribute("data-sha256", sha256)
    page.set_input_files("#file", {"name": "no.safetensors", "mimeType": "", "buffer": b"no LoRA"})
    expect(page.locator("#said.bad")).to_contain_text("no.safetensors: ")
    expect(page.locator("#said.bad")).to_contain_text("Download the file again")
    page.problems.clear()  # type: ignore[attr-defined]  # the browser reports the 422 as an error
    close(page)


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


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "400 px"])
def test_mean_gates_are_shown_as_heatmaps(browser: Browser, url: str, size: tuple[int, int]) -> None:
    page = open_page(browser, f"{url}?q=a+cat", size)
    page.locator(".card .pick").first.click()
    page.get_by_role("link", name="Generate with 1").click()
    page.get_by_label("Method").select_option("gated")
    figure = generate(page, lambda: page.get_by_role("button", name="Generate").click())
    figure.get_by_text("How it was made").click()
    heatmap = figure.get_by_role("img", name=re.compile("^mean gates of .* by block and step$"))
    expect(heatmap).to_be_visible()
    assert heatmap.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    check(page, "generate")
    close(page)


def test_enter_generates_and_shift_enter_starts_a_line(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}generate")
    prompt = page.locator("textarea")
    expect(prompt).to_be_focused()
    page.keyboard.type("a cat")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("on a hill")
    expect(prompt).to_have_value("a cat\non a hill")
    generate(page, lambda: page.keyboard.press("Enter"))
    close(page)


def generate(page: Page, submit: Callable[[], None]) -> Locator:
    """Submit the form and return the new image, which comes before those of earlier tests, when it is done."""
    figures = page.locator("#images figure")
    made = figures.count()  # the server has written them into the page
    submit()
    expect(figures).to_have_count(made + 1)
    expect(figures.first).to_have_attribute("data-state", "done")
    return figures.first


def test_two_releases_stand_side_by_side(browser: Browser, url: str) -> None:
    page = open_page(browser, f"{url}compare")
    page.get_by_label("Prompt").fill("a cat")
    page.get_by_role("button", name="Compare").click()
    sides = page.locator(".sides section")
    expect(sides).to_have_count(2)  # all() does not wait
    before, after = sides.all()
    expect(before).to_contain_text("8 adapters")
    expect(after).to_contain_text("12 adapters")
    expect(after.locator(".move-new").first).to_be_visible()
    close(page)


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


PATHS = ("", "?q=a+cat&nsfw=1", "generate?q=a+cat", "compare?q=a+cat", "pool", "?q=a+cat&max_rank=1")


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


def check(page: Page, path: str) -> None:
    """Fail if axe finds a violation, or the page scrolls sideways."""
    results = Axe().run(page)
    assert results.violations_count == 0, f"{path}: {results.generate_report()}"
    width = page.evaluate("document.documentElement.scrollWidth")
    assert page.viewport_size is not None and width <= page.viewport_size["width"], path
