"""Civitai's routes: lists and versions, images, downloads that lead elsewhere, and its words for an error."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from playground.hubs import storage
from playground.hubs.civitai.facts import BASES, PUBLIC, describe_model
from playground.hubs.civitai.images import list_images
from playground.hubs.civitai.models import (
    NAME,
    TYPES,
    list_models,
    locate,
    show_hash,
    show_hashes,
    show_mini,
    show_model,
    show_version,
)
from playground.hubs.exchange import Answer, Api, Refused, Request, route

if TYPE_CHECKING:
    from playground.hub import Hub


def download(hub: "Hub", request: Request, version: str) -> Answer:
    """GET /api/download/models/{version}: 302 to where the file lies, for a while."""
    repo = locate(hub, hub.numbers.versions, version, "Version")
    if how := hub.withdrawn(repo.id):
        raise Refused(410, "Archived") if how == "archived" else Refused(404, "File not found")
    number = request.text("fileId")
    paths = [path for path in repo.head.weights if number in ("", str(hub.numbers.file(repo, path)))]
    asked = request.text("format", "SafeTensor")
    paths = [path for path in paths if (asked == "SafeTensor") == path.endswith(".safetensors")] or (
        [] if "format" in request.query else paths
    )
    if not paths:
        raise Refused(404, "File not found")
    blob, name = repo.head.blobs[paths[0]], paths[0].rpartition("/")[2]
    place = storage.sign(hub, request, NAME, repo.id, blob, name)
    return Answer(status=302, headers={"Location": place, "Cache-Control": "no-store"})


def list_words(hub: "Hub", request: Request, what: str) -> Answer:
    """GET /api/v1/creators and /tags."""
    models = [describe_model(hub, request, repo, PUBLIC) for repo in hub.visible(NAME)]
    rows = [[model["creator"]["username"]] if what == "creators" else model["tags"] for model in models]
    name = "username" if what == "creators" else "name"
    words = sorted({word for row in rows for word in row if request.text("query").lower() in word.lower()})
    page, limit = request.number("page", 1, 1, 10**6), request.number("limit", 20, 1, 200)
    items = [
        {name: word, "modelCount": sum(word in row for row in rows)}
        for word in words[(page - 1) * limit : page * limit]
    ]
    pages = {"totalItems": len(words), "currentPage": page, "pageSize": limit}
    return Answer(value={"items": items, "metadata": {**pages, "totalPages": -(-len(words) // limit)}})


def show_enums(hub: "Hub", request: Request) -> Answer:
    """GET /api/v1/enums."""
    bases = [*BASES.values(), "Other"]
    return Answer(value={"ModelType": TYPES, "BaseModel": bases, "ActiveBaseModel": bases})


def refuse(request: Request, error: Refused) -> Answer:
    """Answer with an error; a browser is sent to a page in place of 401 and 403, and text otherwise."""
    if (request.headers.get("User-Agent") or "").startswith("Mozilla"):
        if error.status in (401, 403):
            return Answer(status=302, headers={"Location": f"{request.base}/login", **error.headers})
        content = error.message.encode()
        headers = {"Content-Type": "text/plain", **error.headers}
        return Answer(status=error.status, headers=headers, pieces=(content,), length=len(content))
    return Answer(status=error.status, value={"error": error.message}, headers=error.headers)


def name_repo(hub: "Hub", request: Request, groups: Mapping[str, str]) -> str:
    """Return the repository behind the numbers of a request."""
    version = groups.get("version") or request.text("modelVersionId")
    model = groups.get("model") or request.text("modelId")
    number, table = (version, hub.numbers.versions) if version else (model, hub.numbers.models)
    repo = table.get(int(number)) if number.isascii() and number.isdigit() else None
    return repo.id if repo else ""


get = partial(route, "GET")
MODEL, VERSION = r"(?P<model>\d{1,12})", r"(?P<version>\d{1,12})"
API = Api(
    name=NAME,
    prefix="/civitai",
    routes=(
        get(r"/api/v1/models/?", "listing", list_models),
        get(rf"/api/v1/models/{MODEL}", "info", show_model),
        get(rf"/api/v1/model-versions/{VERSION}", "info", show_version),
        get(rf"/api/v1/model-versions/mini/{VERSION}", "info", show_mini),
        get(r"/api/v1/model-versions/by-hash/(?P<digest>[0-9a-fA-F]{8,64})", "info", show_hash),
        route("POST", r"/api/v1/model-versions/by-hash(?P<ids>/ids)?", "info", show_hashes),
        get(r"/api/v1/images/?", "images", list_images),
        get(r"/api/v1/(?P<what>creators|tags)/?", "info", list_words),
        get(r"/api/v1/enums", "info", show_enums),
        route("GET HEAD", rf"/api/download/models/{VERSION}", "download", download),
    ),
    refuse=refuse,
    label=name_repo,
)
