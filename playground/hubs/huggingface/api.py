"""Routes of the Hugging Face Hub: lists, repositories, trees, and files."""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

from playground.hubs import storage
from playground.hubs.http_messages import Api, HttpError, Request, Response, route, send_blob
from playground.hubs.huggingface import uploads
from playground.hubs.huggingface.entries import FULL, LISTED, describe_repo, list_files, list_tree
from playground.hubs.huggingface.paging import read_cursor, set_next, write_cursor
from playground.hubs.huggingface.paths import REPO, REVISION, missing
from playground.hubs.repos import Blob, Commit, Repo, list_folder
from playground.hubs.state import Hub

NAME = "huggingface"
MOST = 1000
TREE_PAGE_SIZE = 1000
"""entries of a repository's tree on one page"""
NO_SUCH_REPOSITORY = "Invalid username or password."
"""X-Error-Message of the 401 to a request without a token for a repository that was deleted"""


def list_repos(hub: Hub, request: Request) -> Response:
    """GET /api/models: one page of the filtered, sorted list, with a link to the next page."""
    entries = [describe_visible(hub, repo, repo.head) for repo in hub.visible(NAME)]
    sort = request.text("sort", "trendingScore")
    tags = request.query.get("filter", [])
    matching = [entry for entry in entries if all(tag in entry["tags"] for tag in tags)]
    ranked = sorted(
        ((entry.get(sort) or 0, entry["id"], entry) for entry in matching), key=lambda row: row[1]
    )
    if len({type(rank) for rank, _, _ in ranked}) > 1:
        raise HttpError(400, f"cannot sort by {sort}")
    ranked.sort(key=lambda row: row[0], reverse=True)
    if cursor := request.text("cursor").partition("~")[0]:
        rank, last = read_cursor(cursor)
        ranked = [row for row in ranked if row[0] < rank or (row[0] == rank and row[1] > last)]
    size = min(request.number("limit", MOST, 1, 10**9), hub.page_size)
    response = Response(value=[choose_fields(request, entry) for _, _, entry in ranked[:size]])
    if len(ranked) > size:
        rank, last, _ = ranked[size - 1]
        set_next(response, request, write_cursor(rank, last))
    return response


def describe_visible(hub: Hub, repo: Repo, commit: Commit) -> dict[str, Any]:
    """Return all fields of a repository, with `disabled` as of today."""
    return describe_repo(repo, commit) | ({"disabled": True} if hub.withdrawal(repo.id) == "disabled" else {})


def choose_fields(request: Request, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a repository's list entry: with the default fields, all (`full`), or those of `expand`."""
    names: tuple[str, ...] = FULL if request.flag("full") else LISTED
    if expand := request.query.get("expand"):
        names = ("_id", "id", *(name for value in expand for name in value.split(",")))
    if request.flag("cardData"):
        names = (*names, "cardData")
    return {name: entry[name] for name in names if name in entry}


def locate(hub: Hub, request: Request, repo: str, revision: str) -> tuple[Repo, Commit]:
    """Return a repository and its commit.

    Raises HttpError: 404 with the code from which the client chooses its exception; 401 without a code if the
    repository was withdrawn and the request has no token. The Hugging Face Hub returns that 401 for a repository
    that never existed, too; here it is a 404, from which the client chooses its exception over http as well.
    """
    repository = hub.find(repo, NAME)
    if not repository:
        if hub.withdrawal(repo) and not request.headers.get("Authorization"):
            raise HttpError(401, NO_SUCH_REPOSITORY, {"X-Error-Message": NO_SUCH_REPOSITORY})
        raise missing("RepoNotFound")
    commit = repository.commit(revision, "main")
    if not commit:
        raise missing("RevisionNotFound")
    return repository, commit


def show_repo(hub: Hub, request: Request, repo: str, revision: str = "main") -> Response:
    """GET /api/models/{repo}[/revision/{revision}]."""
    repository, commit = locate(hub, request, repo, revision)
    entry = describe_visible(hub, repository, commit)
    if request.flag("blobs"):
        entry["siblings"] = list_files(commit)
    if expand := request.query.get("expand"):
        names = {name for value in expand for name in value.split(",")}
        entry = {name: entry[name] for name in ("_id", "id", *names) if name in entry}
    if request.flag("securityStatus"):
        entry["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return Response(value=entry)


def show_tree(hub: Hub, request: Request, repo: str, revision: str, path: str = "") -> Response:
    """GET /api/models/{repo}/tree/{revision}[/{folder}]: one page, with a link to the next page.

    The link has a slash before its query if the request names no folder.
    """
    _, commit = locate(hub, request, repo, revision)
    folders_and_files = list_folder(commit, path.strip("/"), request.flag("recursive"))
    if folders_and_files is None:
        raise missing("EntryNotFound")
    paths = sorted(chain(*folders_and_files))
    start = request.number("cursor", 0, 0, len(paths))
    end = start + request.number("limit", TREE_PAGE_SIZE, 1, TREE_PAGE_SIZE)
    response = Response(value=list_tree(commit, paths[start:end]))
    if end < len(paths):
        folder = path.strip("/")
        set_next(response, request, str(end), f"/api/models/{repo}/tree/{revision}/{quote(folder)}")
    return response


def send_file(hub: Hub, request: Request, repo: str, revision: str, path: str) -> Response:
    """HEAD or GET /{repo}/resolve/{revision}/{path}: the file, or a redirect to it if it is an LFS file."""
    repository, commit = locate(hub, request, repo, revision)
    entry = describe_visible(hub, repository, commit)
    if entry["gated"]:
        raise gate(request)
    if entry["disabled"]:
        raise HttpError(403, "Access to this repository is disabled", {"X-Error-Code": "DisabledRepo"})
    blob = commit.blobs.get(path)
    if blob is None:
        raise missing("EntryNotFound", {"X-Repo-Commit": commit.sha})
    headers = file_headers(path, blob, commit)
    if request.redirects and blob.pointer_size is not None:
        url = storage.sign(hub, request, NAME, repo, blob, path.rpartition("/")[2])
        return Response(status=302, headers=headers | {"Location": url, "Accept-Ranges": "bytes"})
    return send_blob(request, blob, headers)


def file_headers(path: str, blob: Blob, commit: Commit) -> dict[str, str]:
    """Return a file's headers, which the client reads by a HEAD request."""
    headers = {
        "ETag": f'"{blob.etag}"',
        "X-Repo-Commit": commit.sha,
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1])}",
    }
    if blob.pointer_size is not None:
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    return headers


def gate(request: Request) -> HttpError:
    """Return the refusal of a gated repository's files: 401 without a token, 403 with one."""
    status = 403 if request.headers.get("Authorization") else 401
    message = "Access to this model is restricted and you are not in the authorized list"
    return HttpError(status, message, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})


def refuse(request: Request, error: HttpError) -> Response:
    """Return an error response in the hub's format."""
    return Response(status=error.status, value={"error": error.message}, headers=error.headers)


get = partial(route, "GET")
RESOLVE = rf"/{REPO}/resolve/{REVISION}/(?P<path>.+)"
API = Api(
    name=NAME,
    prefix="",
    routes=(
        get(r"/api/models", "listing", list_repos),
        get(rf"/api/models/{REPO}", "info", show_repo),
        get(rf"/api/models/{REPO}/revision/{REVISION}", "info", show_repo),
        get(rf"/api/models/{REPO}/tree/{REVISION}(?:/(?P<path>.*))?", "tree", show_tree),
        get(RESOLVE, "file", send_file),
        *uploads.ROUTES,
    ),
    refuse=refuse,
)
