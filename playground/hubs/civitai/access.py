"""Paid access on Civitai: a version whose files must be paid for, permanently or until a date.

A line of the schedule sets it with `"civitai": {"paidAccess": {"permanent": false, "endsAt": DATE}}`. When a paid
access ends, Civitai removes it from its answers and publishes the version again.
"""

import datetime
from collections.abc import Mapping
from typing import Any

from playground.hubs.civitai.paging import to_milliseconds
from playground.hubs.repos import Repo, full_date


def paid_access(repo: Repo) -> dict[str, Any] | None:
    """Return a version's paid access, or None if its files are free."""
    paid, end = _scheduled(repo), end_of_access(repo)
    if not paid or (end and not paid.get("permanent") and _is_past(end)):
        return None
    return {"permanent": bool(paid.get("permanent")), "endsAt": end}


def end_of_access(repo: Repo) -> str | None:
    """Return the date at which a paid access ends or ended; None if there is none, or none that ends."""
    end = _scheduled(repo).get("endsAt")
    return full_date(end) if end else None


def published_at(repo: Repo) -> str:
    """Return the date of the last publication, by which lists are sorted: at the latest the end of a paid access."""
    end = None if paid_access(repo) else end_of_access(repo)
    return max(repo.published_at, end or "")


def _scheduled(repo: Repo) -> Mapping[str, Any]:
    return repo.overrides.get("civitai", {}).get("paidAccess") or {}


def _is_past(date: str) -> bool:
    return to_milliseconds(date) <= datetime.datetime.now(datetime.UTC).timestamp() * 1000
