"""Routes of Civitai: models and versions, images, downloads by redirect; and its format of errors."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from playground.hubs import storage
from playground.hubs.civitai.access import paid_access
from playground.hubs.civitai.images import list_images
from playground.hubs.civitai.models import (
    NAME,
    list_models,
    locate,
    show_model,
)
from playground.hubs.http_messages import Api, HttpError, Request, Response, route
from playground.hubs.state import Hub


def download(hub: Hub, request: Request, version: str) -> Response:
    """GET /api/download/models/{version}: a redirect to a signed URL of the file."""
    repo = locate(hub, hub.civitai_ids.versions, version, "Version")
    if withdrawal := hub.withdrawal(repo.id):
        raise HttpError(410, "Archived") if withdrawal == "archived" else HttpError(404, "File not found")
    if paid := paid_access(repo):
        return refuse_paid(paid)
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


def refuse_paid(paid: Mapping[str, Any]) -> Response:
    """Return the response to a download of a version with paid access."""
    deadline = {"deadline": paid["endsAt"]} if paid["endsAt"] else {}
    message = "This asset is in Early Access. You can use Buzz access it now!"
    return Response(status=403, value={"error": "Early Access", **deadline, "message": message})


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response in the hub's format."""
    return Response(status=error.status, value={"error": error.message}, headers=error.headers)


def find_repo_id(hub: Hub, request: Request, groups: Mapping[str, str]) -> str:
    """Return the repository that a request's version or model id stands for; empty if there is none."""
    version = groups.get("version") or request.text("modelVersionId")
    model = groups.get("model") or ""
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
        get(r"/api/v1/images/?", "images", list_images),
        get(rf"/api/download/models/{VERSION}", "download", download),
    ),
    refuse=refuse,
    find_repo_id=find_repo_id,
)
