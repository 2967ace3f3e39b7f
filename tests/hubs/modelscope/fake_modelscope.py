"""Servers with ModelScope's API for tests, and a client of them."""

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.hubs import Page
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.modelscope.client import ModelScope
from autolora.records import Listing
from tests.support.tiny_pool import RULES

TODAY = datetime.date(2026, 1, 5)
REVISION = "a" * 40
LIST_PATH, DETAILS_PATH = "/openapi/v1/models", "/api/v1/models/ann/ink"
FILES_PATH = f"{DETAILS_PATH}/repo/files"


def connect(url: str) -> ModelScope:
    return ModelScope(Endpoint("modelscope", url.rstrip("/"), 5.0, 1, None))


def pages(client: ModelScope, **rules: Any) -> Iterator[Page]:
    cursor = None
    while True:
        page = client.page(replace(RULES, **rules), cursor, TODAY)
        yield page
        if not (cursor := page.next):
            return


def crawl(client: ModelScope, known: Mapping[str, Listing] | None = None, **rules: Any) -> list[Listing]:
    """Return the completed listings of all pages."""
    models = [model for page in pages(client, **rules) for model in page.models]
    changed = replace(RULES, **rules)
    return [listing for model in models for listing in client.complete_listings(model, changed, known or {})]


def envelope(data: Any) -> dict[str, Any]:
    """Return a response of the API that serves model pages and file lists."""
    return {"Code": 200, "Success": True, "Data": data}


def model(id: Any = "ann/ink", time: Any = "2026-01-02T00:00:00Z", **fields: Any) -> dict[str, Any]:
    """Return a list entry."""
    return {"id": id, "last_modified": time, "license": "mit", "tags": ["LoRA"], "downloads": 3} | fields


def serve_list(server: HTTPServer, models: list[Any], total: Any, page_size: int = 50) -> list[int]:
    """Serve a list in pages; return the requested page numbers."""
    numbers: list[int] = []

    def respond(request: Request) -> Response:
        number = int(request.args["page_number"])
        numbers.append(number)
        items = models[(number - 1) * page_size : number * page_size]
        data = {"models": items, "total_count": total, "page_number": number, "page_size": page_size}
        return Response(json.dumps({"success": True, "data": data}))

    server.expect_request(LIST_PATH).respond_with_handler(respond)
    return numbers
