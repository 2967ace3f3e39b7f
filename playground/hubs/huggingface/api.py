"""The API of the Hugging Face Hub: lists, repositories, trees, and files."""

import base64
import json
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode

from playground.hubs import storage
from playground.hubs.exchange import Answer, Api, Refused, Request, route, send_blob
from playground.hubs.huggingface.facts import FULL, LISTED, describe_repo, list_files, list_tree
from playground.hubs.repos import Blob, Commit, Repo, folders

if TYPE_CHECKING:
    from playground.hub import Hub

NAME = "huggingface"
REPO = r"(?P<repo>[^/]+/[^/]+)"
REVISION = r"(?P<revision>[^/]+)"
MESSAGES = {
    "RepoNotFound": "Repository not found",
    "RevisionNotFound": "Invalid rev id",
    "EntryNotFound": "Entry not found",
}
MOST = 1000


def list_repos(hub: "Hub", request: Request) -> Answer:
    """GET /api/models: filtered, sorted, one page, and where the next one is."""
    entries = [tell(hub, repo, repo.head) for repo in hub.visible(NAME)]
    sort = request.text("sort", "trendingScore")
    wanted = [entry for entry in entries if is_wanted(request, entry)]
    ranked = sorted(((entry.get(sort) or 0, entry["id"], entry) for entry in wanted), key=lambda row: row[1])
    if len({type(rank) for rank, _, _ in ranked}) > 1:
        raise Refused(400, f"cannot sort by {sort}")
    ranked.sort(key=lambda row: row[0], reverse=True)
    if cursor := request.text("cursor").partition("~")[0]:
        rank, last = read_cursor(cursor)
        ranked = [row for row in ranked if row[0] < rank or (row[0] == rank and row[1] > last)]
    size = min(request.number("limit", MOST, 1, 10**9), hub.page_size)
    answer = Answer(value=[choose_fields(request, entry) for _, _, entry in ranked[:size]])
    if len(ranked) > size:
        rank, last, _ = ranked[size - 1]
        set_next(answer, request, base64.urlsafe_b64encode(json.dumps([rank, last]).encode()).decode())
    return answer


def tell(hub: "Hub", repo: Repo, commit: Commit) -> dict[str, Any]:
    """Return everything about a repository, and whether it is disabled today."""
    return describe_repo(repo, commit) | ({"disabled": True} if hub.withdrawn(repo.id) == "disabled" else {})


def read_cursor(cursor: str) -> tuple[Any, str]:
    """Return the place in the list that a cursor names.

    Raises Refused (400) when it is none of ours.
    """
    try:
        rank, last = json.loads(base64.urlsafe_b64decode(cursor))
    except ValueError as error:
        raise Refused(400, "Invalid cursor") from error
    return rank, last


def set_next(answer: Answer, request: Request, cursor: str) -> None:
    """Say in the Link header where the next page is; the URL is absolute."""
    query = urlencode({**request.query, "cursor": [cursor]}, doseq=True)
    answer.headers["Link"] = f'<{request.base}{request.path}?{query}>; rel="next"'


def is_wanted(request: Request, entry: Mapping[str, Any]) -> bool:
    """Whether a repository passes filter, author, search, pipeline_tag and gated."""
    query = request.query
    words = " ".join([entry["id"], *entry["tags"]]).lower()
    return (
        all(tag in entry["tags"] for tag in query.get("filter", []))
        and all(entry["author"] == author for author in query.get("author", []))
        and all(word.lower() in words for word in query.get("search", []))
        and all(entry["pipeline_tag"] == tag for tag in query.get("pipeline_tag", []))
        and ("gated" not in query or request.flag("gated") == bool(entry["gated"]))
    )


def choose_fields(request: Request, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a list tells about one repository: the usual, the full, or what was asked for."""
    names: tuple[str, ...] = FULL if request.flag("full") else LISTED
    if expand := request.query.get("expand"):
        names = ("_id", "id", *(name for value in expand for name in value.split(",")))
    if request.flag("cardData"):
        names = (*names, "cardData")
    return {name: entry[name] for name in names if name in entry}


def locate(hub: "Hub", repo: str, revision: str) -> tuple[Repo, Commit]:
    """Return a repository and its commit.

    Raises Refused (404) in the words that the client turns into its own exceptions.
    """
    found = hub.find(repo, NAME)
    if not found:
        raise missing("RepoNotFound")
    commit = found.commit(revision, "main")
    if not commit:
        raise missing("RevisionNotFound")
    return found, commit


def missing(code: str, headers: Mapping[str, str] | None = None) -> Refused:
    """Return the 404 that is told apart by its X-Error-Code."""
    message = MESSAGES[code]
    return Refused(404, message, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})


def show_repo(hub: "Hub", request: Request, repo: str, revision: str = "main") -> Answer:
    """GET /api/models/{repo}[/revision/{revision}]."""
    found, commit = locate(hub, repo, revision)
    entry = tell(hub, found, commit)
    if request.flag("blobs"):
        entry["siblings"] = list_files(commit)
    if expand := request.query.get("expand"):
        names = {name for value in expand for name in value.split(",")}
        entry = {name: entry[name] for name in ("_id", "id", *names) if name in entry}
    if request.flag("securityStatus"):
        entry["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return Answer(value=entry)


def show_tree(hub: "Hub", request: Request, repo: str, revision: str, path: str = "") -> Answer:
    """GET /api/models/{repo}/tree/{revision}[/{folder}]."""
    _, commit = locate(hub, repo, revision)
    found = folders(commit, path.strip("/"), request.flag("recursive"))
    if found is None:
        raise missing("EntryNotFound")
    return Answer(value=list_tree(commit, [name for names in found for name in names]))


def show_paths(hub: "Hub", request: Request, repo: str, revision: str) -> Answer:
    """POST /api/models/{repo}/paths-info/{revision}."""
    _, commit = locate(hub, repo, revision)
    if (request.headers.get("Content-Type") or "").startswith("application/json"):
        paths = json.loads(request.body)["paths"]
    else:
        paths = parse_qs(request.body.decode())["paths"]
    return Answer(value=list_tree(commit, [path for path in paths if path in commit.blobs]))


def show_refs(hub: "Hub", request: Request, repo: str) -> Answer:
    """GET /api/models/{repo}/refs."""
    main = {"name": "main", "ref": "refs/heads/main", "targetCommit": locate(hub, repo, "main")[1].sha}
    return Answer(value={"branches": [main], "converts": [], "tags": []})


def send_file(hub: "Hub", request: Request, repo: str, revision: str, path: str) -> Answer:
    """HEAD or GET /{repo}/resolve/{revision}/{path}: the file, or for LFS files the way to it."""
    found, commit = locate(hub, repo, revision)
    entry = tell(hub, found, commit)
    if entry["gated"]:
        raise gate(request)
    if entry["disabled"]:
        raise Refused(403, "Access to this repository is disabled", {"X-Error-Code": "DisabledRepo"})
    blob = commit.blobs.get(path)
    if blob is None:
        raise missing("EntryNotFound", {"X-Repo-Commit": commit.sha})
    headers = file_headers(path, blob, commit)
    if request.redirects and blob.pointer_size is not None:
        place = storage.sign(hub, request, NAME, repo, blob, path.rpartition("/")[2])
        return Answer(status=302, headers=headers | {"Location": place, "Accept-Ranges": "bytes"})
    return send_blob(request, blob, headers)


def file_headers(path: str, blob: Blob, commit: Commit) -> dict[str, str]:
    """Return what the client reads from a HEAD."""
    headers = {
        "ETag": f'"{blob.etag}"',
        "X-Repo-Commit": commit.sha,
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1])}",
    }
    if blob.pointer_size is not None:
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    return headers


def gate(request: Request) -> Refused:
    """Return the refusal of a gated repository's files: 401 for strangers, 403 for users without access."""
    status = 403 if request.headers.get("Authorization") else 401
    message = "Access to this model is restricted and you are not in the authorized list"
    return Refused(status, message, {"X-Error-Code": "GatedRepo", "X-Error-Message": message})


def refuse(request: Request, error: Refused) -> Answer:
    """Answer with an error in the hub's words."""
    return Answer(status=error.status, value={"error": error.message}, headers=error.headers)


get, head, post = partial(route, "GET"), partial(route, "HEAD"), partial(route, "POST")
RESOLVE = rf"/{REPO}/resolve/{REVISION}/(?P<path>.+)"
API = Api(
    name=NAME,
    prefix="",
    routes=(
        get(r"/api/models", "listing", list_repos),
        get(rf"/api/models/{REPO}", "info", show_repo),
        get(rf"/api/models/{REPO}/revision/{REVISION}", "info", show_repo),
        get(rf"/api/models/{REPO}/refs", "info", show_refs),
        get(rf"/api/models/{REPO}/tree/{REVISION}(?:/(?P<path>.*))?", "tree", show_tree),
        post(rf"/api/models/{REPO}/paths-info/{REVISION}", "tree", show_paths),
        get(RESOLVE, "file", send_file),
        head(RESOLVE, "head", send_file),
    ),
    refuse=refuse,
)
