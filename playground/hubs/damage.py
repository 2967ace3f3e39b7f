"""Damage to what a hub tells: each function takes a JSON value apart in one way and returns it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

LISTS = ("items", "models", "Models", "Files", "data", "Data", "Model")
"""keys that lead to a page's list, in whichever API"""
FILE_LISTS = ("siblings", "files", "Files")
NAMES = ("_id", "id", "modelId", "Name", "Path", "name", "path")
FILE_NAMES = ("rfilename", "path", "Path", "Name", "name")
SUFFIX = (".safetensors", ".png")
DATE = re.compile(r"\d{4}(-\d\d-\d\dT\d\d:\d\d:\d\d.*Z)")
EPOCHS = ("CreatedTime", "LastUpdatedTime", "CommittedDate", "CreatedAt")
HASH = re.compile(r"[0-9a-fA-F]{64}")
SIZES = ("size", "Size", "sizeKB", "file_size")
ESCAPES = "\x1b[2J\u202e\x00<script>alert(1)</script>\r\n" + "A" * 10_000
CLIMB = "../../../"


def entries(value: Any) -> list[Any]:
    """Return a page's list of entries, the list itself; of an answer about one thing, that alone."""
    if isinstance(value, list):
        return value
    for key in LISTS:
        if key in value:
            return entries(value[key])
    return [value]


def drop_fields(entry: dict[str, Any], field: str) -> None:
    """Take a field away wherever it is; without a name every field but the entry's own name."""
    if not field:
        for key in entry.keys() - set(NAMES):
            del entry[key]
    for inner in objects(entry):
        inner.pop(field, None)


def null_fields(entry: dict[str, Any], field: str) -> None:
    """Set a field to null wherever it is; without a name every field but the entry's own name."""
    for inner in objects(entry) if field else [entry]:
        for key in inner:
            if key == field or (not field and key not in NAMES):
                inner[key] = None


def change_types(entry: dict[str, Any], field: str) -> None:
    """Give a field a value of another type wherever it is; without a name every field of the entry."""
    for inner in objects(entry) if field else [entry]:
        for key in inner:
            if key == field or not field:
                inner[key] = other_type(inner[key])


def other_type(value: Any) -> Any:
    """Return a value of another type: a number for text, text for a number, an object for a list."""
    if isinstance(value, str):
        return 7
    if isinstance(value, list):
        return {"0": value}
    return [value] if isinstance(value, dict) else str(value)


def truncate_files(value: Any) -> None:
    """Leave the latter half of every list of files out."""
    lists = [inner[key] for inner in objects(value) for key in FILE_LISTS if isinstance(inner.get(key), list)]
    if isinstance(value, list) and value and isinstance(value[0], dict) and "oid" in value[0]:
        lists.append(value)
    for files in lists:
        del files[len(files) // 2 :]


def climb(value: Any) -> None:
    """Let every file name lead out of the folder."""
    replace(
        value, lambda key, text: f"{CLIMB}{text}" if key in FILE_NAMES and text.endswith(SUFFIX) else text
    )


def shift_dates(value: Any, year: int) -> None:
    """Move every date to another year, in whichever form it is."""
    replace(value, lambda _, text: DATE.sub(rf"{year}\1", text))
    for inner in objects(value):
        for key in EPOCHS:
            if isinstance(inner.get(key), int):
                inner[key] = (year - 1970) * 31_556_952


def change_hashes(value: Any) -> None:
    """Give every file another sha256: its own, backwards."""
    replace(value, lambda _, text: text[::-1] if HASH.fullmatch(text) else text)


def change_sizes(value: Any) -> None:
    """Give every file another size, a little larger."""
    for inner in objects(value):
        for key in SIZES:
            if isinstance(inner.get(key), int | float):
                inner[key] += 1


def foreign_urls(value: Any, url: str) -> None:
    """Let every URL, and every picture of a card, lead elsewhere."""

    def lead(key: str, text: str) -> str:
        return url if text.startswith("http") or key == "url" else text

    replace(value, lead)


def hostile_text(value: Any) -> None:
    """Put what no terminal, page or log should see into every text that is for people."""
    for inner in objects(value):
        for key in (
            "license",
            "License",
            "instance_prompt",
            "trainedWords",
            "tags",
            "Tags",
            "text",
            "prompt",
        ):
            if isinstance(inner.get(key), list):
                inner[key] = [ESCAPES, *inner[key]]
            elif isinstance(inner.get(key), str):
                inner[key] += ESCAPES


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object within a value, the outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in (
        list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from objects(inner)


def replace(value: Any, change: Callable[[str, str], str]) -> None:
    """Replace every text by `change(key, text)`, in place."""
    for inner in objects(value):
        for key, text in inner.items():
            if isinstance(text, str):
                inner[key] = change(key, text)
            elif isinstance(text, list):
                inner[key] = [change(key, item) if isinstance(item, str) else item for item in text]
