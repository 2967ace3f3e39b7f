"""Faults in JSON responses: corrupted entries, wrong dates, and lists that are empty, endless or inconsistent."""

from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from typing import Any

from playground.hubs import json_corruption
from playground.hubs.civitai import paging as civitai
from playground.hubs.fault_injection import FaultContext
from playground.hubs.http_messages import Response
from playground.hubs.huggingface import paging as huggingface

YEAR_S = 31_556_952


def corrupt(context: FaultContext, change: Callable[[Any], None]) -> Response:
    """Return the regular response after `change` of its whole JSON value."""
    response = context.respond()
    if response.value is not None:
        change(response.value)
    return response


def corrupt_entry(context: FaultContext, change: Callable[[dict[str, Any], str], None]) -> Response:
    """Return the regular response after `change` of one entry: the one that the order names, or the first."""
    repo = context.hub.repos.get(context.injection.entry)
    ids = {repo.id, context.hub.civitai_ids.model(repo)} if repo else set()
    response = context.respond()
    entries = [
        entry for entry in json_corruption.entries(response.value) if not ids or entry.get("id") in ids
    ]
    for entry in entries[:1]:
        change(entry, context.injection.field)
    return response


def repeat_entries(value: Any) -> None:
    """List every entry twice, in place."""
    entries = json_corruption.entries(value)
    entries[:] = [entry for entry in entries for _ in range(2)]


def shift_dates(context: FaultContext, year: int) -> Response:
    """Return the regular response with all dates, and the Date header, in another year."""
    response = corrupt(context, partial(json_corruption.shift_dates, year=year))
    response.headers["Date"] = formatdate((year - 1970) * YEAR_S, usegmt=True)
    return response


def endless_pages(context: FaultContext) -> Response:
    """Return the first page with a link to a next page, which has a new cursor or page number each time."""
    page = int(context.request.text("cursor").partition("~")[2] or 0) + 1
    query = {name: value for name, value in context.request.query.items() if name not in ("cursor", "page")}
    if context.api.name == "modelscope":
        page = context.request.number("page_number", 1, 1, 10**6)
        response = context.respond(query=query | {"page_number": ["1"]})
        response.value["data"] |= {"page_number": page, "total_count": 10**9}
        return response
    response = context.respond(query=query)
    set_next = civitai.set_next if context.api.name == "civitai" else huggingface.set_next
    set_next(response, context.request, f"~{page}")
    return response


def empty_page(context: FaultContext) -> Response:
    """Return the regular page without its entries; its link to the next page stays."""
    response = context.respond()
    json_corruption.entries(response.value).clear()
    return response


def empty_list(context: FaultContext) -> Response:
    """Return an empty list without a next page."""
    response = empty_page(context)
    response.headers.pop("Link", None)
    if context.api.name == "civitai":
        response.value["metadata"] = {}
    elif context.api.name == "modelscope":
        response.value["data"]["total_count"] = 0
    return response


def move_entry(context: FaultContext) -> Response:
    """Return the regular page; then publish the oldest repository again, which moves it to the front."""
    response = context.respond()
    repos = sorted(
        context.hub.visible(context.api.name), key=lambda repo: (repo.published_at, repo.head.date)
    )
    if repos:
        context.hub.change({"touch": repos[0].id})
    return response
