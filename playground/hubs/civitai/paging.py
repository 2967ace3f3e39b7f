"""Civitai's lists: query parameters, sort orders, and the cursors between pages."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from playground.hubs.http_messages import HttpError, Request, Response

SORTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "Newest": lambda entry: to_milliseconds(entry["_published"]),
    "Highest Rated": lambda entry: entry["stats"].get("thumbsUpCount") or 0,
}
"""sort -> sort key; `_published` is a private field that pages leave out"""


def to_milliseconds(date: str) -> int:
    """Return a date as milliseconds since 1970."""
    return int(datetime.datetime.fromisoformat(date).timestamp() * 1000)


def read_choice(request: Request, name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Return a query parameter that must have one of the allowed values.

    Raises HttpError (400) if it has another value.
    """
    value = request.text(name, default)
    if value not in allowed:
        raise HttpError(400, f"Invalid enum value for {name}: expected one of {', '.join(allowed)}")
    return value


def read_ids(request: Request, name: str) -> set[int]:
    """Return the ids in a query parameter: a comma-separated list of integers, which may occur repeatedly.

    Raises HttpError (400) if it is not valid.
    """
    words = [word for value in request.query.get(name, []) for word in value.split(",") if word]
    if not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise HttpError(400, f"{name} must be numbers")
    return {int(word) for word in words}


def paginate(
    request: Request, entries: list[dict[str, Any]], sort: str, limit: int, page_size: int
) -> Response:
    """Return the page of the entries that begins at the request's cursor.

    limit: the requested size; page_size: the hub's maximum.
    Raises HttpError (400) if the cursor is invalid.
    """
    size = min(limit, page_size)
    rows = sorted(((SORTS[sort](entry), entry["id"], entry) for entry in entries), key=lambda row: row[:2])
    rows.reverse()
    if cursor := request.text("cursor").partition("~")[0]:
        position = read_cursor(cursor)
        rows = [row for row in rows if row[:2] < position]
    response = Response(value={"items": [_public(entry) for *_, entry in rows[:size]], "metadata": {}})
    if len(rows) > size > 0:
        set_next(response, request, f"{rows[size - 1][0]}|{rows[size - 1][1]}")
    return response


def read_cursor(cursor: str) -> tuple[int, int]:
    """Return the sort key and the id of the entry that a cursor stands for.

    Raises HttpError (400) if it is not valid.
    """
    rank, _, id = cursor.partition("|")
    try:
        return int(rank), int(id)
    except ValueError as error:
        raise HttpError(400, "Invalid cursor") from error


def set_next(response: Response, request: Request, cursor: str) -> None:
    """Write the next page's cursor and URL."""
    query = urlencode({**request.query, "cursor": [cursor]}, doseq=True)
    metadata = response.value["metadata"]
    metadata["nextCursor"], metadata["nextPage"] = cursor, f"{request.base}{request.path}?{query}"


def _public(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if not name.startswith("_")}
