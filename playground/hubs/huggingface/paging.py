"""Pages of the Hugging Face Hub's list: cursors, and the Link header to the next page."""

import base64
import json
from typing import Any
from urllib.parse import urlencode

from playground.hubs.http_messages import HttpError, Request, Response


def write_cursor(rank: Any, last_id: str) -> str:
    """Return the cursor that stands for the position after an entry of the list."""
    return base64.urlsafe_b64encode(json.dumps([rank, last_id]).encode()).decode()


def read_cursor(cursor: str) -> tuple[Any, str]:
    """Return the sort key and the id of the entry that a cursor stands for.

    Raises HttpError (400) if it is not valid.
    """
    try:
        rank, last_id = json.loads(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise HttpError(400, "Invalid cursor") from error
    return rank, last_id


def set_next(response: Response, request: Request, cursor: str, path: str = "") -> None:
    """Write the absolute URL of the next page to the Link header; by default with the path of this page."""
    query = urlencode({**request.query, "cursor": [cursor]}, doseq=True)
    response.headers["Link"] = f'<{request.base}{path or request.path}?{query}>; rel="next"'
