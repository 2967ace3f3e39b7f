"""The routes of the playground's hub: one request in, one answer of the Hugging Face Hub API out."""

import base64
import json
import logging
import re
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from playground.repos import FULL, LISTED, Blob, Commit, Repo, facts, paths_info, tree

if TYPE_CHECKING:
    from playground.hub import Fault, Hub

logger = logging.getLogger(__name__)

REPO = r"(?P<repo>[^/]+/[^/]+)"
ROUTES = tuple(
    (method, re.compile(pattern), kind, name)
    for method, pattern, kind, name in (
        ("GET", r"/api/models", "listing", "list_repos"),
        ("GET", rf"/api/models/{REPO}", "info", "show_repo"),
        ("GET", rf"/api/models/{REPO}/revision/(?P<revision>[^/]+)", "info", "show_repo"),
        ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "tree", "show_tree"),
        ("POST", rf"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)", "tree", "show_paths"),
        ("GET", rf"/api/models/{REPO}/refs", "info", "show_refs"),
        ("GET", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "file", "send_file"),
        ("HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "head", "send_file"),
        ("POST", r"/_playground", "", "change"),
        ("GET", r"/_playground/requests", "", "show_requests"),
    )
)
ERRORS = {
    "RepoNotFound": "Repository not found",
    "RevisionNotFound": "Invalid rev id",
    "EntryNotFound": "Entry not found",
}
CONTENTS = {".safetensors": "weights", ".png": "renderings"}
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Handler(BaseHTTPRequestHandler):
    """Answer one connection's requests; `hub` is bound by a subclass."""

    hub: "Hub"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Find the route and answer; the hub counts the request and may misbehave."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        mine = [route for route in ROUTES if route[0] == self.command]
        routes = ((pattern.fullmatch(url.path), *rest) for _, pattern, *rest in mine)
        match, kind, name = next((route for route in routes if route[0]), (None, "", "send_unknown"))
        found = {key: unquote(value or "") for key, value in match.groupdict().items()} if match else {}
        self.query = parse_qs(url.query, keep_blank_values=True)
        self.body = body
        self.fault: Fault | None = None
        if kind:
            kind = CONTENTS.get(PurePosixPath(url.path).suffix, kind) if kind == "file" else kind
            self.hub.count(kind, f"{self.command} {unquote(url.path)}")
            self.fault = self.hub.fault(kind, unquote(url.path))
        if self.fault and self.fault.status:
            headers = {"Retry-After": self.fault.retry_after} if self.fault.retry_after else {}
            return self.send_json({"error": "The playground was told to fail"}, self.fault.status, headers)
        getattr(self, name)(**found)

    do_HEAD = do_POST = do_GET

    def list_repos(self) -> None:
        """GET /api/models: filtered, sorted, one page, and where the next one is."""
        query = self.query
        repos = [repo for repo in self.hub.visible() if self.wanted(facts(repo, repo.head))]
        sort = query.get("sort", ["trendingScore"])[0]
        rank = {repo.id: facts(repo, repo.head).get(sort) or 0 for repo in repos}
        if len({type(value) for value in rank.values()}) > 1:
            return self.send_json({"error": f"cannot sort by {sort}"}, 400)
        repos.sort(key=lambda repo: repo.id)
        repos.sort(key=lambda repo: rank[repo.id], reverse=True)
        if "cursor" in query:
            value, last = json.loads(base64.urlsafe_b64decode(query["cursor"][0]))
            repos = [r for r in repos if rank[r.id] < value or (rank[r.id] == value and r.id > last)]
        size = min(int(query.get("limit", ["1000"])[0]), self.hub.page_size)
        headers = {}
        if len(repos) > size:
            last_id = repos[size - 1].id
            cursor = base64.urlsafe_b64encode(json.dumps([rank[last_id], last_id]).encode()).decode()
            more = urlencode(query | {"cursor": [cursor]}, doseq=True)
            headers["Link"] = f'<http://{self.headers["Host"]}/api/models?{more}>; rel="next"'
        self.send_json([self.shown(repo) for repo in repos[:size]], headers=headers)

    def wanted(self, repo: dict[str, Any]) -> bool:
        """Whether a repository passes filter, author, search, pipeline_tag and gated."""
        query = self.query
        words = " ".join([repo["id"], *repo["tags"]]).lower()
        return (
            all(tag in repo["tags"] for tag in query.get("filter", []))
            and all(repo["author"] == author for author in query.get("author", []))
            and all(word.lower() in words for word in query.get("search", []))
            and all(repo["pipeline_tag"] == tag for tag in query.get("pipeline_tag", []))
            and all(_true(gated) == bool(repo["gated"]) for gated in query.get("gated", []))
        )

    def shown(self, repo: Repo) -> dict[str, Any]:
        """Return what a list tells about one repository: the usual, the full, or what was asked for."""
        everything = facts(repo, repo.head)
        names = FULL if self.asked("full") else LISTED
        if self.query.get("expand"):
            names = ("_id", "id", *(name for value in self.query["expand"] for name in value.split(",")))
        if self.asked("cardData"):
            names = (*names, "cardData")
        return {name: everything[name] for name in names if name in everything}

    def asked(self, flag: str) -> bool:
        """Whether a flag of the query is set."""
        return _true(self.query.get(flag, ["false"])[0])

    def locate(self, repo: str, revision: str) -> tuple[Repo, Commit] | None:
        """Return a repository and its commit, or answer that there is none."""
        found = self.hub.find(repo)
        commit = found.commit(revision) if found else None
        if found is None or commit is None:
            self.send_missing("RevisionNotFound" if found else "RepoNotFound")
            return None
        return found, commit

    def show_repo(self, repo: str, revision: str = "main") -> None:
        """GET /api/models/{repo}[/revision/{revision}]."""
        if not (found := self.locate(repo, revision)):
            return
        answer = facts(*found, blobs=self.asked("blobs"))
        if self.query.get("expand"):
            names = {name for value in self.query["expand"] for name in value.split(",")}
            answer = {name: answer[name] for name in ("_id", "id", *names) if name in answer}
        if self.asked("securityStatus"):
            answer["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
        self.send_json(answer)

    def show_tree(self, repo: str, revision: str, path: str = "") -> None:
        """GET /api/models/{repo}/tree/{revision}[/{folder}]."""
        if not (found := self.locate(repo, revision)):
            return
        entries = tree(found[1], path.strip("/"), self.asked("recursive"))
        if entries is None:
            return self.send_missing("EntryNotFound")
        self.send_json(entries)

    def show_paths(self, repo: str, revision: str) -> None:
        """POST /api/models/{repo}/paths-info/{revision}."""
        if found := self.locate(repo, revision):
            if self.headers.get("Content-Type", "").startswith("application/json"):
                paths = json.loads(self.body)["paths"]
            else:
                paths = parse_qs(self.body.decode())["paths"]
            self.send_json(list(paths_info(found[1], paths)))

    def show_refs(self, repo: str) -> None:
        """GET /api/models/{repo}/refs."""
        if found := self.locate(repo, "main"):
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": found[1].sha}
            self.send_json({"branches": [main], "converts": [], "tags": []})

    def send_file(self, repo: str, revision: str, path: str) -> None:
        """HEAD or GET /{repo}/resolve/{revision}/{path}, whole or one range."""
        if not (found := self.locate(repo, revision)):
            return
        commit = found[1]
        blob = commit.blobs.get(path)
        if blob is None:
            return self.send_missing("EntryNotFound", {"X-Repo-Commit": commit.sha})
        start, stop = self.range(blob)
        if start >= stop and blob.size:
            return self.send_json({"error": "range"}, 416, {"Content-Range": f"bytes */{blob.size}"})
        whole = stop - start == blob.size
        self.send_response(200 if whole else 206)
        for name, value in _file_headers(path, blob, commit).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(stop - start))
        if not whole:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{blob.size}")
        self.end_headers()
        if self.command == "GET":
            self.send_content(blob.read(start, stop))

    def send_content(self, content: bytes) -> None:
        """Send a body, or a damaged one where that is ordered."""
        if self.fault and self.fault.body == "wrong":
            content = bytes(byte ^ 0xFF for byte in content)
        if self.fault and self.fault.body == "cut":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def range(self, blob: Blob) -> tuple[int, int]:
        """Return the bytes [start, stop) that are asked for; all where the range is none or out of date."""
        match = RANGE.fullmatch(self.headers.get("Range", ""))
        if not match or self.headers.get("If-Range", f'"{blob.etag}"') != f'"{blob.etag}"':
            return 0, blob.size
        first, last = match.groups()
        if not first:
            return max(0, blob.size - int(last or 0)), blob.size
        return int(first), min(int(last) + 1 if last else blob.size, blob.size)

    def change(self) -> None:
        """POST /_playground."""
        try:
            self.hub.change(json.loads(self.body))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            return self.send_json({"error": f"not an order: {error!r}"}, 400)
        self.send_json({"ok": True})

    def show_requests(self) -> None:
        """GET /_playground/requests."""
        self.send_json(self.hub.requests())

    def send_unknown(self) -> None:
        """Answer 404 to a request for no route of ours."""
        self.send_json({"error": "Not found"}, 404)

    def send_missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        """Answer 404 in the words that the client turns into its own exceptions."""
        message = ERRORS[code]
        extra = {"X-Error-Code": code, "X-Error-Message": message}
        self.send_json({"error": message}, 404, extra | (headers or {}))

    def send_json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        """Answer with JSON."""
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json; charset=utf-8", **(headers or {})}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Log a request through logging, which is quiet unless asked."""
        logger.info(format, *args)


def _true(text: str) -> bool:
    return text.lower() in ("true", "1")


def _file_headers(path: str, blob: Blob, commit: Commit) -> dict[str, str]:
    headers = {
        "ETag": f'"{blob.etag}"',
        "X-Repo-Commit": commit.sha,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1])}",
    }
    if blob.pointer_size is not None:
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    return headers
