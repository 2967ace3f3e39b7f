"""Routes of Civitai: models and versions, images, downloads by redirect; and its format of errors."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from playground.hubs import storage
from playground.hubs.civitai.access import paid_access
from playground.hubs.civitai.entries import BASES, PUBLIC, describe_model
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
from playground.hubs.http_messages import Api, HttpError, Request, Response, route
from playground.hubs.state import Hub


def download(hub: Hub, request: Request, version: str) -> Response:
    """GET /api/download/models/{version}: a redirect to a signed URL of the file."""
    repo = locate(hub, hub.civitai_ids.versions, version, "Version")
    if withdrawal := hub.withdrawal(repo.id):
        raise HttpError(410, "Archived") if withdrawal == "archived" else HttpError(404, "File not found")
    if paid := paid_access(repo):
        return refuse_paid(request, version, paid)
    file_id = request.text("fileId")
    paths = [path for path in repo.head.weights if file_id in ("", str(hub.civitai_ids.file(repo, path)))]
    is_safetensors = request.text("format", "SafeTensor") == "SafeTensor"
    paths = [path for path in paths if is_safetensors == path.endswith(".safetensors")] or (
        [] if "format" in request.query else paths
    )
    if not paths:
        raise HttpError(404, "File not found")
    blob, name = repo.head.blobs[paths[0]], paths[0].rpartition("/")[2]
    url = storage.sign(hub, request, NAME, repo.id, blob, name)
    return Response(status=302, headers={"Location": url, "Cache-Control": "no-store"})


def refuse_paid(request: Request, version: str, paid: Mapping[str, Any]) -> Response:
    """Return the response to a download of a version with paid access; for browsers a redirect to its page."""
    if is_browser(request):
        return Response(status=302, headers={"Location": f"{request.base}/model-versions/{version}"})
    deadline = {"deadline": paid["endsAt"]} if paid["endsAt"] else {}
    message = "This asset is in Early Access. You can use Buzz access it now!"
    return Response(status=403, value={"error": "Early Access", **deadline, "message": message})


def list_creators_or_tags(hub: Hub, request: Request, what: str) -> Response:
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
    return Response(value={"items": items, "metadata": {**pages, "totalPages": -(-len(words) // limit)}})


def show_enums(hub: Hub, request: Request) -> Response:
    """GET /api/v1/enums."""
    bases = [*BASES.values(), "Other"]
    return Response(value={"ModelType": TYPES, "BaseModel": bases, "ActiveBaseModel": bases})


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response; for browsers a redirect to the login page (401, 403), or plain text."""
    if is_browser(request):
        if error.status in (401, 403):
            return Response(status=302, headers={"Location": f"{request.base}/login", **error.headers})
        content = error.message.encode()
        headers = {"Content-Type": "text/plain", **error.headers}
        return Response(status=error.status, headers=headers, pieces=(content,), length=len(content))
    return Response(status=error.status, value={"error": error.message}, headers=error.headers)


def is_browser(request: Request) -> bool:
    """Return whether a request comes from a web browser, by its User-Agent."""
    return (request.headers.get("User-Agent") or "").startswith("Mozilla")


def find_repo_id(hub: Hub, request: Request, groups: Mapping[str, str]) -> str:
    """Return the repository that a request's version or model id stands for; empty if there is none."""
    version = groups.get("version") or request.text("modelVersionId")
    model = groups.get("model") or request.text("modelId")
    id, table = (version, hub.civitai_ids.versions) if version else (model, hub.civitai_ids.models)
    repo = table.get(int(id)) if id.isascii() and id.isdigit() else None
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
        get(r"/api/v1/(?P<what>creators|tags)/?", "info", list_creators_or_tags),
        get(r"/api/v1/enums", "info", show_enums),
        get(rf"/api/download/models/{VERSION}", "download", download),
    ),
    refuse=refuse,
    find_repo_id=find_repo_id,
)
