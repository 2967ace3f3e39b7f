"""The page of inspections in a real browser: accessibility, narrow screens, and nothing loaded. Needs chromium."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from autolora.inspection.files import find_files
from autolora.inspection.inspector import Inspector
from autolora.inspection.page import OPEN_ROWS, written_page
from autolora.inspection.totals import Totals
from tests.inspection.files import BASE, rewrite, write_folder

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a folder with good, refused and duplicate files, and a long hostile header."""
    root = tmp_path_factory.mktemp("page")
    folder, totals = write_folder(root / "loras"), Totals()
    rewrite(folder / "dog.safetensors", {"modelspec.title": "<img src=x onerror=alert(1)>" + "w" * 400})
    with written_page(root / "page.html", "x" * 200, BASE.description, totals, ["a note"]) as add:
        for inspection in Inspector(BASE, None).inspect_all(find_files(folder).files):
            totals.count(inspection)
            add(inspection)
    return root / "page.html"


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
)
def test_axe_finds_nothing(browser: Browser, page_file: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page, problems, loaded = context.new_page(), [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(page_file.as_uri())
    violations = Axe().run(page).response["violations"]
    assert [f"{row['id']}: {row['nodes'][0]['target']}" for row in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert (problems, loaded) == ([], [page_file.as_uri()])
    context.close()


def test_files_open_by_keyboard_if_there_are_many(browser: Browser, tmp_path: Path) -> None:
    totals, files = Totals(), find_files(write_folder(tmp_path / "loras")).files
    with written_page(tmp_path / "page.html", "many", BASE.description, totals, []) as add:
        for _ in range(OPEN_ROWS):
            for inspection in Inspector(BASE, None).inspect_all(files[2:3]):
                totals.count(inspection)
                add(inspection)
        totals.files += 1
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("details[open]").count() == 0
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("details[open]").count() == 1
    assert page.locator("details[open] dt").first.inner_text() == "verdict"
