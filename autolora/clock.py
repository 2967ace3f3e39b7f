"""The time of a run: that of the variable SOURCE_DATE_EPOCH, by which nights are simulated, or the clock's."""

import os
import time
from datetime import UTC, date, datetime

from autolora.errors import ParamsError


def now() -> datetime:
    """Return the time (UTC) that SOURCE_DATE_EPOCH names, or the clock's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        seconds = time.time() if epoch is None else int(epoch)
    except ValueError as error:
        raise ParamsError(f"SOURCE_DATE_EPOCH is {epoch!r} but must be seconds since 1970") from error
    return datetime.fromtimestamp(seconds, UTC)


def today() -> date:
    """Return the day of `now`."""
    return now().date()
