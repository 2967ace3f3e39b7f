"""Corruptions of JSON values: each function changes a response's value in place, in one way."""

import re
from collections.abc import Callable, Iterator
from typing import Any

LISTS = ("items", "models", "Models", "Files", "data", "Data", "Model")
"""keys under which a page's list is nested, over all APIs"""
FILE_LISTS = ("siblings", "files", "Files")
NAMES = ("_id", "id", "modelId", "Name", "Path", "name", "path")
FILE_NAMES = ("rfilename", "path", "Path", "Name", "name")
SUFFIX = (".safetensors", ".png")
DATE = re.compile(r"\d{4}(-\d\d-\d\dT\d\d:\d\d:\d\d.*Z)")
EPOCHS = ("CreatedTime", "LastUpdatedTime", "CommittedDate", "CreatedAt")
HASH = re.compile(r"[0-9a-fA-F]{64}")
SHOWN_TEXTS = ("license", "License", "instance_prompt", "trainedWords", "tags", "Tags", "text", "prompt")
SIZES = ("size", "Size", "sizeKB", "file_size")
ESCAPES = "\x1b[2J\u202e\x00<script>alert(1)</script>\r\n" + "A" * 10_000
PARENTS = "../../../"


def entries(value: Any) -> list[Any]:
    """Return a page's list of entries (not a copy); for a single object, a list of only this object."""
    if isinstance(value, list):
        return value
    for key in LISTS:
        if key in value:
            return entries(value[key])
    return [value]


def drop_fields(entry: dict[str, Any], field: str) -> None:
    """Delete a field at every level; an empty name deletes all fields of the entry except its id and name."""
    if not field:
        for key in entry.keys() - set(NAMES):
            del entry[key]
    for inner in objects(entry):
        inner.pop(field, None)


def null_fields(entry: dict[str, Any], field: str) -> None:
    """Set a field to null at every level; an empty name does so for all fields except the entry's id and name."""
    for inner in objects(entry) if field else [entry]:
        for key in inner:
            if key == field or (not field and key not in NAMES):
                inner[key] = None


def change_types(entry: dict[str, Any], field: str) -> None:
    """Change the type of a field at every level; an empty name does so for all fields of the entry."""
    for inner in objects(entry) if field else [entry]:
        for key in inner:
            if key == field or not field:
                inner[key] = other_type(inner[key])


def other_type(value: Any) -> Any:
    """Return a value of another type: a number for a string, a string for a number, an object for a list."""
    if isinstance(value, str):
        return 7
    if isinstance(value, list):
        return {"0": value}
    return [value] if isinstance(value, dict) else str(value)


def truncate_files(value: Any) -> None:
    """Delete the second half of every list of files."""
    lists = [inner[key] for inner in objects(value) for key in FILE_LISTS if isinstance(inner.get(key), list)]
    if isinstance(value, list) and value and isinstance(value[0], dict) and "oid" in value[0]:
        lists.append(value)
    for files in lists:
        del files[len(files) // 2 :]


def prefix_file_names(value: Any) -> None:
    """Prefix every file name with `../../../`."""

    def prefixed(key: str, text: str) -> str:
        return f"{PARENTS}{text}" if key in FILE_NAMES and text.endswith(SUFFIX) else text

    replace(value, prefixed)


def shift_dates(value: Any, year: int) -> None:
    """Move every date, as a string or in seconds since 1970, to another year."""
    replace(value, lambda _, text: DATE.sub(rf"{year}\1", text))
    for inner in objects(value):
        for key in EPOCHS:
            if isinstance(inner.get(key), int):
                inner[key] = (year - 1970) * 31_556_952


def change_hashes(value: Any) -> None:
    """Reverse the sha256 of every file."""
    replace(value, lambda _, text: text[::-1] if HASH.fullmatch(text) else text)


def change_sizes(value: Any) -> None:
    """Increase the size of every file by 1."""
    for inner in objects(value):
        for key in SIZES:
            if isinstance(inner.get(key), int | float):
                inner[key] += 1


def replace_urls(value: Any, url: str) -> None:
    """Replace every URL, and every image path of a card, by `url`."""

    def replaced(key: str, text: str) -> str:
        return url if text.startswith("http") or key == "url" else text

    replace(value, replaced)


def hostile_text(value: Any) -> None:
    """Add escape sequences, markup and 10,000 letters to every text that is shown to users."""
    for inner in objects(value):
        for key in SHOWN_TEXTS:
            if isinstance(inner.get(key), list):
                inner[key] = [ESCAPES, *inner[key]]
            elif isinstance(inner.get(key), str):
                inner[key] += ESCAPES


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object nested in a value, outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in (
        list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from objects(inner)


def replace(value: Any, change: Callable[[str, str], str]) -> None:
    """Replace every string by `change(key, string)`, in place."""
    for inner in objects(value):
        for key, text in inner.items():
            if isinstance(text, str):
                inner[key] = change(key, text)
            elif isinstance(text, list):
                inner[key] = [change(key, item) if isinstance(item, str) else item for item in text]
