"""The playground's own routes: orders in, counts of requests out."""

import json
from typing import TYPE_CHECKING

from playground.hubs.exchange import Answer, Api, Refused, Request, route

if TYPE_CHECKING:
    from playground.hub import Hub


def change(hub: "Hub", request: Request) -> Answer:
    """POST /_playground: carry out orders."""
    try:
        hub.change(json.loads(request.body))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Refused(400, f"not an order: {error!r}") from error
    return Answer(value={"ok": True})


def show_requests(hub: "Hub", request: Request) -> Answer:
    """GET /_playground/requests: what was asked since the last reset."""
    return Answer(value=hub.requests())


def refuse(request: Request, error: Refused) -> Answer:
    """Answer with an error."""
    return Answer(status=error.status, value={"error": error.message})


API = Api(
    name="playground",
    prefix="/_playground",
    routes=(route("POST", "/?", "", change), route("GET", "/requests", "", show_requests)),
    refuse=refuse,
)
