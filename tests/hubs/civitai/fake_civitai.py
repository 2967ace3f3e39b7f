"""A server with Civitai's API for tests, and entries as its API returns them."""

import datetime
import json
from dataclasses import replace
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from autolora.hubs import Model
from autolora.hubs.civitai.client import TRANSIENT_DOWNLOAD_STATUSES, Civitai
from autolora.hubs.http.endpoint import Endpoint
from autolora.records import Listing
from tests.support.tiny_pool import RULES as POOL_RULES

TODAY = datetime.date(2026, 1, 3)
RULES = replace(POOL_RULES, max_renderings=3)
SHA256 = "0A1B" * 16
PAGE_SIZE = 2


class FakeCivitai:
    """A Civitai with the given models and images; it records the requests that it receives."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/civitai")
        self.models: list[Any] = []
        self.images: list[Any] = []
        self.responses: list[Response] = []
        """sent, one per request, before the regular responses"""
        self.requests: list[Request] = []
        server.expect_request("/civitai/api/v1/models").respond_with_handler(self.list_models)
        server.expect_request("/civitai/api/v1/images").respond_with_handler(self.list_images)
        server.expect_request("/civitai/api/v1/models/618692").respond_with_handler(self.show_model)
        self.waits: list[float] = []
        self.client = Civitai(
            Endpoint(
                "civitai",
                self.url,
                5.0,
                3,
                "secret",
                self.waits.append,
                transient_statuses=TRANSIENT_DOWNLOAD_STATUSES,
            )
        )

    def list_models(self, request: Request) -> Response:
        return self.respond_with_page(request, self.models)

    def list_images(self, request: Request) -> Response:
        user = request.args.get("username")
        return self.respond_with_page(
            request, [image for image in self.images if user in (None, image.get("username", user))]
        )

    def show_model(self, request: Request) -> Response:
        return self.respond(request, self.models[0] if self.models else {"error": "none"})

    def respond_with_page(self, request: Request, items: list[Any]) -> Response:
        start = int(request.args.get("cursor", "0"))
        end = start + PAGE_SIZE
        metadata = {"nextCursor": end} if end < len(items) else {}
        return self.respond(request, {"items": items[start:end], "metadata": metadata})

    def respond(self, request: Request, value: Any) -> Response:
        self.requests.append(request)
        return self.responses.pop(0) if self.responses else json_response(value)

    def model(self) -> Model:
        """Return the only model of the first page."""
        (model,) = self.client.page(RULES, None, TODAY).models
        return model

    def partial_listings(self, **rules: Any) -> tuple[Listing, ...]:
        """Return the listings of the first page, which has no problems."""
        page = self.client.page(replace(RULES, **rules), None, TODAY)
        assert page.problems == ()
        return tuple(listing for model in page.models for listing in model.partial_listings)

    def problem(self, entry: Any) -> str:
        """Return the problem of an invalid entry, after checking that the next entry is read nevertheless."""
        self.models = [entry, model(id=5)]
        page = self.client.page(RULES, None, TODAY)
        assert [model.id for model in page.models] == ["5"]
        (problem,) = page.problems
        return problem


def json_response(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def model(**changes: Any) -> dict[str, Any]:
    """Return a model as /models returns it."""
    entry = {
        "id": 618692, "name": "Ink Wash", "type": "LORA", "nsfw": False, "nsfwLevel": 1, "poi": False, "minor": False,
        "allowNoCredit": False, "allowCommercialUse": ["Image", "RentCivit"], "allowDerivatives": True,
        "allowDifferentLicense": False, "availability": "Public", "stats": {"downloadCount": 900},
        "creator": {"username": "inkmaker", "image": None}, "tags": ["style"], "modelVersions": [version()],
    }  # fmt: skip
    return entry | changes


def version(**changes: Any) -> dict[str, Any]:
    """Return a version of a model."""
    entry = {
        "id": 691639, "index": 0, "name": "v1", "baseModel": "Flux.1 D", "publishedAt": "2026-01-02T04:00:00.000Z",
        "availability": "Public", "nsfwLevel": 1, "trainedWords": ["inkwsh style", "inkwsh\nstyle "],
        "stats": {"downloadCount": 812}, "files": [file()], "images": [image(1), image(2), image(3), image(4)],
    }  # fmt: skip
    return entry | changes


def file(**changes: Any) -> dict[str, Any]:
    """Return a file of weights."""
    entry = {
        "id": 606528, "sizeKB": 18720.25, "name": "inkwash_v1.safetensors", "type": "Model",
        "metadata": {"format": "SafeTensor"}, "hashes": {"AutoV2": "0A1B2C3D4E", "SHA256": SHA256},
        "downloadUrl": "https://civitai.com/api/download/models/691639", "primary": True,
    }  # fmt: skip
    return entry | changes


def image(number: int, **changes: Any) -> dict[str, Any]:
    """Return an image as /models returns it: without a prompt, its URL ends in the id."""
    url = f"https://image.civitai.com/xG1nkqKTMzGDvpLrqFT7WA/{image_uuid(number)}/original=true/{number}.jpeg"
    return {"id": number, "url": url, "nsfwLevel": 1, "type": "image", "hasMeta": True, **changes}


def generated_image(number: int, **changes: Any) -> dict[str, Any]:
    """Return the same image as /images returns it: with its prompt, its URL ends in the UUID."""
    uuid = image_uuid(number)
    url = f"https://image.civitai.com/xG1nkqKTMzGDvpLrqFT7WA/{uuid}/original=true/{uuid}.jpeg"
    entry = {
        "id": number,
        "url": url,
        "nsfwLevel": "None",
        "meta": {"prompt": f"heron {number}"},
        "username": "inkmaker",
    }
    return entry | changes


def image_uuid(number: int) -> str:
    """Return the UUID of an image."""
    return f"{number:08x}-0000-4000-8000-0123456789ab"
