"""Civitai's lists: what is wanted, in which order, and the cursors between the pages."""

import datetime
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from playground.hubs.exchange import Answer, Refused, Request

SORTS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "Newest": lambda entry: moment(entry["_published"]),
    "Oldest": lambda entry: -moment(entry["_published"]),
    "Most Downloaded": lambda entry: entry["stats"].get("downloadCount") or 0,
    "Most Liked": lambda entry: entry["stats"].get("thumbsUpCount") or 0,
    "Highest Rated": lambda entry: entry["stats"].get("thumbsUpCount") or 0,
    "Most Discussed": lambda entry: entry["stats"].get("commentCount") or 0,
    "Most Collected": lambda entry: 0,
    "Most Images": lambda entry: len(entry.get("modelVersions", [{}])[0].get("images", ())),
    "Most Reactions": lambda entry: entry["stats"].get("likeCount") or 0,
    "Most Comments": lambda entry: entry["stats"].get("commentCount") or 0,
}
"""sort -> its key; `_published` is the entry's private field"""
PERIODS = {"AllTime": None, "Year": 365, "Month": 30, "Week": 7, "Day": 1}
MOST_BY_PAGE = 1000


def moment(date: str) -> int:
    """Return a date as milliseconds since 1970."""
    return int(datetime.datetime.fromisoformat(date).timestamp() * 1000)


def is_recent(request: Request, date: str) -> bool:
    """Whether a date lies in the period that is asked for, up to now.

    Raises Refused (400) for a period that there is not.
    """
    days = PERIODS[one_of(request, "period", "AllTime", tuple(PERIODS))]
    now = datetime.datetime.now(datetime.UTC)
    return days is None or now - datetime.datetime.fromisoformat(date) <= datetime.timedelta(days=days)


def one_of(request: Request, name: str, default: str, allowed: tuple[str, ...]) -> str:
    """Return a parameter that has to be one of a few words.

    Raises Refused (400) when it is none of them.
    """
    value = request.text(name, default)
    if value not in allowed:
        raise Refused(400, f"Invalid enum value for {name}: expected one of {', '.join(allowed)}")
    return value


def numbers(request: Request, name: str) -> set[int]:
    """Return a parameter that is a comma-separated list of integers, given once or more.

    Raises Refused (400) when it is none.
    """
    words = [word for value in request.query.get(name, []) for word in value.split(",") if word]
    if not all(word.isascii() and word.isdigit() and len(word) < 12 for word in words):
        raise Refused(400, f"{name} must be numbers")
    return {int(word) for word in words}


def paginate(
    request: Request, entries: list[dict[str, Any]], sort: str, limit: int, page_size: int
) -> Answer:
    """Answer with one page of the entries, by cursor or, for the first thousand, by number.

    limit: how many are asked for; page_size: how many the hub gives at most.
    Raises Refused: 429 behind the first thousand, 400 for a cursor that is none.
    """
    page = request.number("page", 0, 0, 10**6)
    if page * limit > MOST_BY_PAGE:
        raise Refused(429, "You've requested too many pages, please use cursors instead")
    if page and "query" in request.query:
        raise Refused(400, "Cannot use page param with query search. Use cursor-based pagination.")
    size = min(limit, page_size)
    rows = sorted(((SORTS[sort](entry), entry["id"], entry) for entry in entries), key=lambda row: row[:2])
    rows.reverse()
    total = len(rows)
    if cursor := request.text("cursor").partition("~")[0]:
        place = read_cursor(cursor)
        rows = [row for row in rows if row[:2] < place]
    elif page:
        rows = rows[(page - 1) * size :]
    answer = Answer(value={"items": [_public(entry) for *_, entry in rows[:size]], "metadata": {}})
    if page:
        pages = {"totalItems": total, "currentPage": page, "pageSize": size, "totalPages": -(-total // size)}
        answer.value["metadata"] |= pages
    if len(rows) > size > 0:
        set_next(answer, request, f"{rows[size - 1][0]}|{rows[size - 1][1]}", page)
    return answer


def read_cursor(cursor: str) -> tuple[int, int]:
    """Return the place in the list that a cursor names.

    Raises Refused (400) when it is none of ours.
    """
    rank, _, number = cursor.partition("|")
    try:
        return int(rank), int(number)
    except ValueError as error:
        raise Refused(400, "Invalid cursor") from error


def set_next(answer: Answer, request: Request, cursor: str, page: int = 0) -> None:
    """Say where the next page is: the query again, with a cursor or, asked by number, the next number."""
    change = {"page": [str(page + 1)]} if page else {"cursor": [cursor]}
    query = urlencode({**request.query, **change}, doseq=True)
    metadata = answer.value["metadata"]
    metadata["nextCursor"], metadata["nextPage"] = cursor, f"{request.base}{request.path}?{query}"


def _public(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if not name.startswith("_")}
