"""The assembled page, parsed."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any


class Page(HTMLParser):
    """Collects everything that a browser would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.scripts: list[tuple[str | None, str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.sources += [
            value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag == "script":
            self.scripts.append((dict(attrs).get("type"), ""))
        if tag not in ("img", "meta", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} is not the innermost open tag"


def read_page(root: Path) -> str:
    """Return the text of the page."""
    return (root / "reports" / "index.html").read_text(encoding="utf-8")


def script_data(root: Path) -> dict[str, Any]:
    """Return the JSON data of the page's script, with the adapters as rows."""
    content: dict[str, Any] = json.loads(Page(read_page(root)).scripts[0][1])
    columns = content["adapters"]
    rows = zip(*columns.values(), strict=True)
    return content | {"adapters": [dict(zip(columns, row, strict=True)) for row in rows]}
