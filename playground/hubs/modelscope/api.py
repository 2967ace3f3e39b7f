"""Routes of ModelScope: the open API's lists, the legacy API's files and revisions, and both download routes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from playground.hubs import storage
from playground.hubs.http_messages import Api, HttpError, Request, Response, route, send_blob
from playground.hubs.modelscope.entries import describe_legacy, describe_open, list_files
from playground.hubs.repos import Commit, Repo
from playground.hubs.state import Hub

NAME = "modelscope"
MAX_MODELS = 3000
"""maximum of page_number * page_size"""
MAX_PAGE_SIZE = 50
MAX_FILES = 3000
"""maximum length of a list of files; longer lists are truncated silently"""
SORTS: Mapping[str, Callable[[Repo], Any]] = {
    "default": lambda repo: repo.head.date,
    "last_modified": lambda repo: repo.head.date,
    "GmtModified": lambda repo: repo.head.date,
    "created_at": lambda repo: repo.created_at,
    "downloads": lambda repo: repo.downloads,
    "likes": lambda repo: repo.downloads // 10,
}
CODES = {400: "InputParameterError", 401: "InvalidAuthentication", 403: "OperationNotAllowed"}
CODES |= {404: "ResourceNotFound", 429: "RateLimitExceed", 500: "InternalServerError"}
CODES |= {503: "ServiceUnavailable"}
NOT_FOUND = 10010205001
NOT_FOUND_MESSAGE = "获取模型信息失败，信息：record not found"
"""failed to get the model's information"""
CUSTOM_TAG = "custom_tag:"


def list_models(hub: Hub, request: Request) -> Response:
    """GET /openapi/v1/models: one numbered page of the filtered, sorted list, of at most the hub's page size."""
    number = request.number("page_number", 1, 1, MAX_MODELS)
    size = request.number("page_size", 10, 1, MAX_PAGE_SIZE)
    if number * size > MAX_MODELS:
        raise HttpError(400, f"page_number * page_size must be <= {MAX_MODELS}")
    size = min(size, hub.page_size)
    sort = request.text("sort", "default")
    if sort not in SORTS:
        raise HttpError(400, f"sort must be one of {', '.join(SORTS)}")
    repos = [repo for repo in sort_repos(hub, sort) if matches(request, describe_open(repo))]
    page = repos[(number - 1) * size : number * size]
    data = {"models": [describe_open(repo) for repo in page], "total_count": len(repos)}
    return open_response(data | {"page_number": number, "page_size": size})


def sort_repos(hub: Hub, sort: str) -> list[Repo]:
    """Return the visible repositories in descending order of the sort key; ties are sorted by name."""
    repos = sorted(hub.visible(NAME), key=lambda repo: repo.id)
    return sorted(repos, key=SORTS[sort], reverse=True)


def matches(request: Request, model: Mapping[str, Any]) -> bool:
    """Return whether a model matches search, the beginning of its name, and the filter of tags."""
    tags = [tag.lower() for tag in model["tags"]]
    wanted = request.query.get("filter.custom_tag", [])
    return model["display_name"].lower().startswith(request.text("search").lower()) and all(
        f"{CUSTOM_TAG}{tag.lower()}" in tags for tag in wanted
    )


def show_model(hub: Hub, request: Request, repo: str) -> Response:
    """GET /openapi/v1/models/{owner}/{name}."""
    return open_response(describe_open(find(hub, repo)))


def show_legacy(hub: Hub, request: Request, repo: str) -> Response:
    """GET /api/v1/models/{owner}/{name}: as on ModelScope, a missing model is reported with status 200."""
    repository = hub.find(repo, NAME)
    if repository is None:
        return Response(value=legacy_failure(404, NOT_FOUND_MESSAGE))
    return legacy_response(describe_legacy(repository, request.base))


def show_files(hub: Hub, request: Request, repo: str) -> Response:
    """GET /api/v1/models/{id}/repo/files: at most MAX_FILES of them; null for an unknown revision."""
    commit = find(hub, repo).commit(request.text("Revision", "master"), "master")
    if commit is None:
        return legacy_response({"Files": None})
    files = list_files(commit, request.text("Root").strip("/"), request.flag("Recursive"))
    if files is None:
        raise HttpError(404, "no such folder")
    return legacy_response({"Files": files[:MAX_FILES]})


def send_queried_file(hub: Hub, request: Request, repo: str) -> Response:
    """GET or HEAD /api/v1/models/{id}/repo?Revision=&FilePath=."""
    return send_file(hub, request, repo, request.text("Revision", "master"), request.text("FilePath"))


def send_file(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Response:
    """GET or HEAD /models/{id}/resolve/{revision}/{path}: the file, or a redirect to it if it is an LFS file."""
    commit = locate(hub, repo, revision)
    if find(hub, repo).overrides.get(NAME, {}).get("gated"):
        raise HttpError(403, "the model is gated: ask its owner for access")
    if not (blob := commit.blobs.get(path)):
        raise HttpError(404, "no such file")
    name = path.rpartition("/")[2]
    headers = {
        "ETag": f'"{blob.etag}"',
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "X-Linked-Etag": f'"{blob.sha256}"',
        "X-Linked-Size": str(blob.size),
    }
    if request.redirects and blob.pointer_size is not None:
        return Response(
            status=302, headers=headers | {"Location": storage.sign(hub, request, NAME, repo, blob, name)}
        )
    return send_blob(request, blob, headers)


def find(hub: Hub, repo: str) -> Repo:
    """Return the visible repository.

    Raises HttpError (404).
    """
    if not (repository := hub.find(repo, NAME)):
        raise HttpError(404, "record not found")
    return repository


def locate(hub: Hub, repo: str, revision: str) -> Commit:
    """Return the commit of a visible repository.

    Raises HttpError (404).
    """
    if not (commit := find(hub, repo).commit(revision or "master", "master")):
        raise HttpError(404, "revision not found")
    return commit


def open_response(data: Mapping[str, Any]) -> Response:
    """Return a response with the envelope of the open API."""
    return Response(value={"success": True, "request_id": "playground", "data": dict(data)})


def legacy_response(data: Mapping[str, Any]) -> Response:
    """Return a response with the envelope of the legacy API."""
    return Response(
        value={
            "Code": 200,
            "Data": dict(data),
            "Message": "success",
            "RequestId": "playground",
            "Success": True,
        }
    )


def legacy_failure(status: int, message: str) -> dict[str, Any]:
    """Return the body with which the legacy API reports a failure."""
    code = NOT_FOUND if status == 404 else status
    return {"Code": code, "Success": False, "Message": message, "RequestId": "playground"}


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response in the format of the requested API."""
    message = NOT_FOUND_MESSAGE if error.status == 404 else error.message
    value = legacy_failure(error.status, message)
    if request.path.startswith("/openapi"):
        value = {"success": False, "code": CODES.get(error.status, "InternalServerError")}
        value |= {"message": error.message, "request_id": "playground"}
    return Response(status=error.status, value=value, headers=error.headers)


REPO = r"(?P<repo>[^/]+/[^/]+)"
get, send = partial(route, "GET"), partial(route, "GET HEAD")
API = Api(
    name=NAME,
    prefix="/modelscope",
    routes=(
        get(r"/openapi/v1/models/?", "listing", list_models),
        get(rf"/openapi/v1/models/{REPO}", "info", show_model),
        get(rf"/api/v1/models/{REPO}", "info", show_legacy),
        get(rf"/api/v1/models/{REPO}/repo/files", "tree", show_files),
        send(rf"/api/v1/models/{REPO}/repo", "file", send_queried_file),
        send(rf"/models/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "file", send_file),
    ),
    refuse=refuse,
)
