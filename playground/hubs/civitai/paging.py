"""Civitai's lists: query parameters, sort orders, and the cursors between pages."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from playground.hubs.http_messages import HttpError, Request, Response

SORTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "Newest": lambda entry: to_milliseconds(entry["_published"]),
    "Oldest": lambda entry: -to_milliseconds(entry["_published"]),
    "Most Downloaded": lambda entry: entry["stats"].get("downloadCount") or 0,
    "Most Liked": lambda entry: entry["stats"].get("thumbsUpCount") or 0,
    "Highest Rated": lambda entry: entry["stats"].get("thumbsUpCount") or 0,
    "Most Discussed": lambda entry: entry["stats"].get("commentCount") or 0,
    "Most Collected": lambda entry: 0,
    "Most Images": lambda entry: len(entry.get("modelVersions", [{}])[0].get("images", ())),
    "Most Reactions": lambda entry: entry["stats"].get("likeCount") or 0,
    "Most Comments": lambda entry: entry["stats"].get("commentCount") or 0,
}
"""sort -> sort key; `_published` is a private field that pages leave out"""
PERIODS = {"AllTime": None, "Year": 365, "Month": 30, "Week": 7, "Day": 1}
MOST_BY_PAGE = 1000


def to_milliseconds(date: str) -> int:
    """Return a date as milliseconds since 1970."""
    return int(datetime.datetime.fromisoformat(date).timestamp() * 1000)


def is_in_period(request: Request, date: str) -> bool:
    """Return whether a date lies within the requested period before now.

    Raises HttpError (400) for an unknown period.
    """
    days = PERIODS[read_choice(request, "period", "AllTime", tuple(PERIODS))]
    now = datetime.datetime.now(datetime.UTC)
    return days is None or now - datetime.datetime.fromisoformat(date) <= datetime.timedelta(days=days)


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
    """Return one page of the entries, by cursor or, within the first thousand, by page number.

    limit: the requested size; page_size: the hub's maximum.
    Raises HttpError: 429 for a page number after the first thousand, 400 for an invalid cursor.
    """
    page = request.number("page", 0, 0, 10**6)
    if page * limit > MOST_BY_PAGE:
        raise HttpError(429, "You've requested too many pages, please use cursors instead")
    if page and "query" in request.query:
        raise HttpError(400, "Cannot use page param with query search. Use cursor-based pagination.")
    size = min(limit, page_size)
    rows = sorted(((SORTS[sort](entry), entry["id"], entry) for entry in entries), key=lambda row: row[:2])
    rows.reverse()
    total = len(rows)
    if cursor := request.text("cursor").partition("~")[0]:
        position = read_cursor(cursor)
        rows = [row for row in rows if row[:2] < position]
    elif page:
        rows = rows[(page - 1) * size :]
    response = Response(value={"items": [_public(entry) for *_, entry in rows[:size]], "metadata": {}})
    if page:
        pages = {"totalItems": total, "currentPage": page, "pageSize": size, "totalPages": -(-total // size)}
        response.value["metadata"] |= pages
    if len(rows) > size > 0:
        set_next(response, request, f"{rows[size - 1][0]}|{rows[size - 1][1]}", page)
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


def set_next(response: Response, request: Request, cursor: str, page: int = 0) -> None:
    """Write the next page's cursor and URL, which has a cursor or, if `page` is set, the next page number."""
    change = {"page": [str(page + 1)]} if page else {"cursor": [cursor]}
    query = urlencode({**request.query, **change}, doseq=True)
    metadata = response.value["metadata"]
    metadata["nextCursor"], metadata["nextPage"] = cursor, f"{request.base}{request.path}?{query}"


def _public(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if not name.startswith("_")}
