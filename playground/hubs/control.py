"""The playground's own routes: change the hub's state, and read the counts of requests."""

import json

from playground.hubs.http_messages import Api, HttpError, Request, Response, route
from playground.hubs.state import Hub


def change(hub: Hub, request: Request) -> Response:
    """POST /_playground: carry out orders."""
    try:
        hub.change(json.loads(request.body))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise HttpError(400, f"not a valid order: {error!r}; playground/README.md lists them") from error
    return Response(value={"ok": True})


def show_requests(hub: Hub, request: Request) -> Response:
    """GET /_playground/requests: the counts of requests since the last reset."""
    return Response(value=hub.requests())


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response."""
    return Response(status=error.status, value={"error": error.message})


API = Api(
    name="playground",
    prefix="/_playground",
    routes=(route("POST", "/?", "", change), route("GET", "/requests", "", show_requests)),
    refuse=refuse,
)
