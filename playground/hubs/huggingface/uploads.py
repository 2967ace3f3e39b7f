"""Uploads to the Hugging Face Hub, as huggingface_hub sends them without Xet: a new repository, git-lfs, a commit.

A request without a token is a 401; any token may write to any repository. What is uploaded is lost with the process.
"""

import base64
import datetime
import hashlib
import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import yaml

from playground.hubs.http_messages import HttpError, Request, Response, Route, route
from playground.hubs.huggingface.paths import REPO, REVISION, missing
from playground.hubs.repos import FRONT_MATTER, Blob, Repo, describe, full_date, is_lfs, make_commit
from playground.hubs.state import Hub

GIT_ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
"""first file of a new repository"""


def create_repo(hub: Hub, request: Request) -> Response:
    """POST /api/repos/create: a repository with one commit; 409 if it exists."""
    _require_token(request)
    order = json.loads(request.body)
    repo_id = f"{order['organization']}/{order['name']}"
    value = {"url": f"{request.base}/{repo_id}", "id": repo_id, "name": repo_id}
    if hub.find(repo_id):
        error = {"error": "You already created this model repo", **value}
        return Response(status=409, value=error)
    now = _now()
    repo = Repo(repo_id, 0, now, 0, ("huggingface",), {}, now)
    repo.commits.append(make_commit({".gitattributes": describe(".gitattributes", GIT_ATTRIBUTES)}, now))
    hub.add_repo(repo)
    return Response(value=value)


def validate_card(hub: Hub, request: Request) -> Response:
    """POST /api/validate-yaml: 400 with the errors if the front matter of a card is not a mapping."""
    content = json.loads(request.body)["content"]
    match = FRONT_MATTER.match(content)
    try:
        is_valid = match is not None and isinstance(yaml.safe_load(match[1]), dict)
    except yaml.YAMLError:
        is_valid = False
    errors = [] if is_valid else [{"message": "metadata is not a mapping", "line": 1}]
    return Response(status=400 if errors else 200, value={"errors": errors, "warnings": []})


def preupload(hub: Hub, request: Request, repo: str, revision: str) -> Response:
    """POST /api/models/{repo}/preupload/{revision}: how each file is to be uploaded, and its present object id."""
    _require_token(request)
    blobs = _repo(hub, repo).head.blobs
    files = [_upload_mode(file["path"], blobs) for file in json.loads(request.body)["files"]]
    return Response(value={"files": files})


def start_lfs(hub: Hub, request: Request, repo: str) -> Response:
    """POST /{repo}.git/info/lfs/objects/batch: the URLs to which missing files are uploaded."""
    _require_token(request)
    order = json.loads(request.body)
    url = f"{request.base}/{repo}.git/info/lfs/objects"
    objects = [
        {
            "oid": item["oid"],
            "size": item["size"],
            "authenticated": True,
            **({} if item["oid"] in hub.uploads else {
                "actions": {
                    "upload": {"href": f"{url}/{item['oid']}"},
                    "verify": {"href": f"{url}/verify", "header": {}},
                }
            }),
        }
        for item in order["objects"]
    ]  # fmt: skip
    return Response(value={"transfer": "basic", "objects": objects})


def receive_lfs(hub: Hub, request: Request, repo: str, oid: str) -> Response:
    """PUT /{repo}.git/info/lfs/objects/{oid}: store a file, whose sha256 must be its oid."""
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise HttpError(400, "BadDigest")
    hub.uploads[oid] = request.body
    return Response(value={})


def verify_lfs(hub: Hub, request: Request, repo: str) -> Response:
    """POST /{repo}.git/info/lfs/objects/verify: 404 unless a file of this oid and size was uploaded."""
    _require_token(request)
    order = json.loads(request.body)
    if len(hub.uploads.get(order["oid"], b"")) != order["size"]:
        raise HttpError(404, "Object not found")
    return Response(value={})


def commit(hub: Hub, request: Request, repo: str, revision: str) -> Response:
    """POST /api/models/{repo}/commit/{revision}: a commit from lines of JSON, each one operation."""
    _require_token(request)
    repository = _repo(hub, repo)
    if revision != "main":
        raise missing("RevisionNotFound")
    blobs = dict(repository.head.blobs)
    for line in request.body.splitlines():
        operation = json.loads(line)
        _apply(hub, blobs, operation["key"], operation["value"])
    repository.commits.append(make_commit(blobs, _now()))
    sha = repository.head.sha
    url = f"{request.base}/{repo}/commit/{sha}"
    return Response(value={"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})


def _apply(hub: Hub, blobs: dict[str, Blob], key: str, value: Mapping[str, Any]) -> None:
    """Apply one operation of a commit to its files."""
    match key:
        case "header":
            pass
        case "file":
            blobs[value["path"]] = describe(value["path"], base64.b64decode(value["content"]))
        case "lfsFile":
            if value["oid"] not in hub.uploads:
                raise HttpError(400, f"LFS object {value['oid']} was not uploaded")
            blobs[value["path"]] = describe(value["path"], hub.uploads[value["oid"]])
        case "deletedFile":
            if blobs.pop(value["path"], None) is None:
                raise HttpError(404, "A file with this name doesn't exist")
        case _:
            raise HttpError(400, f"unknown operation {key!r}")


def _upload_mode(path: str, blobs: Mapping[str, Blob]) -> dict[str, Any]:
    blob = blobs.get(path)
    oid = {} if blob is None else {"oid": blob.etag}
    return {"path": path, "uploadMode": "lfs" if is_lfs(path) else "regular", "shouldIgnore": False, **oid}


def _repo(hub: Hub, repo_id: str) -> Repo:
    repo = hub.find(repo_id)
    if repo is None:
        raise missing("RepoNotFound")
    return repo


def _require_token(request: Request) -> None:
    if not request.headers.get("Authorization"):
        raise HttpError(401, "Invalid username or password.")


def _now() -> str:
    return full_date(datetime.datetime.now(datetime.UTC).isoformat())


post = partial(route, "POST")
"""for routes whose requests are not counted, and get no injected faults"""
LFS = rf"/{REPO}\.git/info/lfs/objects"
ROUTES: tuple[Route, ...] = (
    post(r"/api/repos/create", "", create_repo),
    post(r"/api/validate-yaml", "", validate_card),
    post(rf"/api/models/{REPO}/preupload/{REVISION}", "", preupload),
    post(rf"/api/models/{REPO}/commit/{REVISION}", "", commit),
    post(rf"{LFS}/batch", "", start_lfs),
    post(rf"{LFS}/verify", "", verify_lfs),
    route("PUT", rf"{LFS}/(?P<oid>[0-9a-f]{{64}})", "", receive_lfs),
)
