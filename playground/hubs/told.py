"""Faults of what is told: lists that never end or say nothing, entries that are damaged, moved or doubled."""

from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any

from playground.hubs import damage
from playground.hubs.civitai import pages
from playground.hubs.exchange import Answer
from playground.hubs.huggingface import api as huggingface
from playground.hubs.orders import Call

YEAR_S = 31_556_952


def spoil(call: Call, change: Callable[[Any], None]) -> Answer:
    """Change what is told, all of it."""
    answer = call.answer()
    if answer.value is not None:
        change(answer.value)
    return answer


def spoil_entry(call: Call, change: Callable[[dict[str, Any], str], None]) -> Answer:
    """Change one entry of what is told: the one that the order names, or the first."""
    repo = call.hub.repos.get(call.order.entry)
    wanted = {repo.id, call.hub.numbers.model(repo)} if repo else set()
    answer = call.answer()
    found = [entry for entry in damage.entries(answer.value) if not wanted or entry.get("id") in wanted]
    for entry in found[:1]:
        change(entry, call.order.field)
    return answer


def repeat_entries(value: Any) -> None:
    """List every entry twice."""
    found = damage.entries(value)
    found[:] = [entry for entry in found for _ in range(2)]


def shift_date_header(call: Call, year: int) -> Answer:
    """Tell every date, the answer's own too, in another year."""
    answer = spoil(call, partial(damage.shift_dates, year=year))
    answer.headers["Date"] = formatdate((year - 1970) * YEAR_S, usegmt=True)
    return answer


def never_end(call: Call) -> Answer:
    """Show the first page for ever, each time with another cursor or number."""
    turn = int(call.request.text("cursor").partition("~")[2] or 0) + 1
    query = {name: value for name, value in call.request.query.items() if name not in ("cursor", "page")}
    if call.api.name == "modelscope":
        asked = call.request.number("page_number", 1, 1, 10**6)
        answer = call.answer(query=query | {"page_number": ["1"]})
        answer.value["data"] |= {"page_number": asked, "total_count": 10**9}
        return answer
    answer = call.answer(query=query)
    set_next = pages.set_next if call.api.name == "civitai" else huggingface.set_next
    set_next(answer, call.request, f"~{turn}")
    return answer


def show_nothing(call: Call) -> Answer:
    """Show an empty page, and say that there is more where there is."""
    answer = call.answer()
    damage.entries(answer.value).clear()
    return answer


def have_nothing(call: Call) -> Answer:
    """Say that the hub holds nothing at all."""
    answer = show_nothing(call)
    answer.headers.pop("Link", None)
    if call.api.name == "civitai":
        answer.value["metadata"] = {}
    elif call.api.name == "modelscope":
        answer.value["data"]["total_count"] = 0
    return answer


def move_entry(call: Call) -> Answer:
    """Show the page; then the last of the whole list is published again, and comes first."""
    answer = call.answer()
    repos = sorted(call.hub.visible(call.api.name), key=lambda repo: (repo.published_at, repo.head.date))
    if repos:
        call.hub.change({"touch": repos[0].id})
    return answer
