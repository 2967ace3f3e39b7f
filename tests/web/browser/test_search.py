"""Searching in a browser: typing, filters, details, files that are dropped, and releases side by side."""

import io
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, expect

from autolora.errors import CaptionError
from autolora.pool import store as pool
from autolora.web import captioner
from tests.web.browser.visits import NEXT_MESSAGE, SHA256, close, open_page, wait_for_results

pytestmark = [pytest.mark.slow, pytest.mark.core]

HOLD_CLOSE_EVENT = """() => {
    let drawer = null;
    globalThis.held = new Promise((resolve) => {
        addEventListener("close", (event) => {
            event.stopImmediatePropagation();
            drawer = event.target;
            resolve();
        }, { capture: true, once: true });
    });
    globalThis.release = () => {
        let goesBack = false;
        history.back = () => { goesBack = true; };
        drawer.dispatchEvent(new Event("close"));
        delete history.back;
        return goesBack;
    };
}"""
"""a drawer gets the event of its closing one frame later; `release` sends it now and returns whether it goes back.

The promise `held` waits for it: page.wait_for_function evaluates a text in the page, which the page forbids."""
FORWARD_AND_RELEASE = """() => new Promise((done) => {
    addEventListener("popstate", () => done(release()), { once: true });
    history.forward();
})"""


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


@pytest.mark.parametrize("is_early", [True, False], ids=["before the details arrive", "after it"])
def test_forward_right_after_back_shows_the_details_again(browser: Browser, url: str, is_early: bool) -> None:
    page = open_page(browser, f"{url}?q=a+cat")
    page.locator(".card .face").first.click()
    expect(page.locator("#details")).to_be_visible()
    page.evaluate(HOLD_CLOSE_EVENT)
    page.go_back()
    page.evaluate("held")
    if is_early:
        assert not page.evaluate(FORWARD_AND_RELEASE)
        expect(page.locator("#details")).to_be_visible()
    else:
        page.go_forward()
        expect(page.locator("#details")).to_be_visible()
        assert not page.evaluate("release()")
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    wait_for_results(page, "?q=a+cat")
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


def test_an_image_of_another_program_is_searched_by(
    browser: Browser, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    image: FilePayload = {"name": "x.png", "mimeType": "image/png", "buffer": stream.getvalue()}
    captions = ["a rocket"]

    def describe(*arguments: object) -> str:
        if captions:
            return captions.pop()
        raise CaptionError("no server answers")

    monkeypatch.setattr(captioner, "describe_image", describe)
    page = open_page(browser, url)
    page.set_input_files("#file", image)
    expect(page.locator("#adapter")).to_contain_text("contains no provenance")
    page.get_by_role("button", name="Search for what it shows").click()
    page.wait_for_url("**/?q=a+rocket")  # and for its scripts
    page.set_input_files("#file", image)
    page.get_by_role("button", name="Search for what it shows").click()
    expect(page.locator("#adapter .problem")).to_have_text("no server answers")
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#details")).to_be_hidden()
    page.problems.clear()  # type: ignore[attr-defined]  # the browser reports the 404 and the 422 as errors
    close(page)
