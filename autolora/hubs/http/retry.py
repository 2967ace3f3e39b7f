"""Patience: how often a hub is asked the same thing, and how long it is waited for."""

import datetime
import logging
import math
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

from autolora.errors import HubError

MAX_WAIT_S = 300.0
"""the longest window of a rate limit that is sat out; a hub that asks for more is left alone"""
RATE_LIMIT = re.compile(r'"[^"]*"\s*;\s*r=0\s*;\s*t=(\d{1,9})')
"""`RateLimit: "api";r=0;t=55`: nothing is left for 55 seconds"""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Interrupted(Exception):
    """A try that failed in a way that the next one may not; `wait_s`: what the hub asks to wait till then."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def persist(what: str, attempts: int, sleep: Callable[[float], None], attempt: Callable[[], T]) -> T:
    """Return what `attempt` does, tried again where it is Interrupted: after 1, 2, 4, ... s, or as the hub asks.

    what: hub and URL, for words. Raises HubError after the last try, or where the hub asks for too long a wait.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except Interrupted as error:
            reason = str(error)
            wait_s = 2.0 ** min(number - 1, 6) if error.wait_s is None else error.wait_s
        if wait_s > MAX_WAIT_S:
            raise HubError(f"{what} failed ({reason}) and is not to be asked for {wait_s:.0f} s; do so later")
        if number < attempts:
            logger.info("%s: %s; trying again in %.1f s", what, reason, wait_s)
            sleep(wait_s)
    raise HubError(f"{what} failed in {attempts} tries: {reason}")


def asked_wait(headers: Mapping[str, str], now: datetime.datetime | None = None) -> float | None:
    """Return the seconds that an answer's Retry-After or RateLimit header asks to wait; None where none does."""
    after = headers.get("Retry-After", "").strip()
    try:
        seconds = float(after) if after[:1].isdigit() else _until(after, now) if after else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if math.isfinite(seconds):
        return max(0.0, seconds)
    limit = RATE_LIMIT.search(headers.get("RateLimit", ""))
    return float(limit[1]) + 1 if limit else None


def _until(date: str, now: datetime.datetime | None) -> float:
    """Return the seconds until an HTTP date; ValueError where it is none."""
    then = parsedate_to_datetime(date)
    then = then if then.tzinfo else then.replace(tzinfo=datetime.UTC)
    return (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
