"""Retries of requests, with exponential backoff or after the delay that the hub asks for."""

import datetime
import logging
import math
import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

from autolora.errors import HubError

MAX_WAIT_S = 300.0
"""the longest delay that a hub may ask for; a longer one fails the request at once"""
RATE_LIMIT = re.compile(r'"[^"]*"\s*;\s*r=0\s*;\s*t=(\d{1,9})')
"""`RateLimit: "api";r=0;t=55`: no request is left for 55 seconds"""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TransientError(Exception):
    """An attempt failed in a way that may not recur; `wait_s` is the delay that the hub asks for, if any."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


def retry(label: str, attempts: int, sleep: Callable[[float], None], attempt: Callable[[], T]) -> T:
    """Return the result of `attempt`, repeated after a TransientError: after 1, 2, 4, … s or as the hub asks.

    label: hub and URL, for messages. Raises HubError after the last attempt, or if the hub asks for a delay
    above MAX_WAIT_S.
    """
    for number in range(1, attempts + 1):
        try:
            return attempt()
        except TransientError as error:
            reason = str(error)
            wait_s = 2.0 ** min(number - 1, 6) if error.wait_s is None else error.wait_s
        if wait_s > MAX_WAIT_S:
            raise HubError(
                f"{label} failed ({reason}): the hub asks to wait {wait_s:.0f} s, more than the "
                f"{MAX_WAIT_S:.0f} s limit; try again later"
            )
        if number < attempts:
            logger.info("%s: %s; retrying in %.1f s", label, reason, wait_s)
            sleep(wait_s)
    raise HubError(f"{label} failed in {attempts} attempts: {reason}")


def retry_after(headers: Mapping[str, str], now: datetime.datetime | None = None) -> float | None:
    """Return the delay in seconds of a Retry-After or exhausted RateLimit header, None without either."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value) if value[:1].isdigit() else _seconds_until(value, now) if value else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if math.isfinite(seconds):
        return max(0.0, seconds)
    limit = RATE_LIMIT.search(headers.get("RateLimit", ""))
    return float(limit[1]) + 1 if limit else None


def _seconds_until(date: str, now: datetime.datetime | None) -> float:
    """Return the seconds from now until an HTTP date. Raises ValueError if the date is not valid."""
    then = parsedate_to_datetime(date)
    then = then if then.tzinfo else then.replace(tzinfo=datetime.UTC)
    return (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
