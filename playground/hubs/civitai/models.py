"""Civitai's models and versions: the list, single entries, and look-ups by the hash of a file."""

import json
from collections.abc import Mapping
from typing import Any

from playground.hubs.civitai.access import published_at
from playground.hubs.civitai.entries import (
    EVERYTHING,
    PUBLIC,
    describe_model,
    describe_model_page,
    describe_standalone_version,
    level,
)
from playground.hubs.civitai.files import hash_blob
from playground.hubs.civitai.paging import is_in_period, paginate, read_choice, read_ids, to_milliseconds
from playground.hubs.http_messages import HttpError, Request, Response
from playground.hubs.repos import Repo
from playground.hubs.state import Hub

NAME = "civitai"
TYPES = ("Checkpoint", "TextualInversion", "Hypernetwork", "LORA", "LoCon", "DoRA", "VAE", "Other")
RATED = ("Most Downloaded", "Most Liked", "Highest Rated", "Most Discussed", "Most Collected", "Most Images")
SORTS = ("Newest", "Oldest", *RATED)
FOR_USERS = ("favorites", "hidden")
BY_HASH = {"Cache-Control": "public, s-maxage=3600"}


def list_models(hub: Hub, request: Request) -> Response:
    """GET /api/v1/models: one page of the filtered, sorted list."""
    if any(name in request.query for name in FOR_USERS) and not request.headers.get("Authorization"):
        raise HttpError(401, "Unauthorized")
    sort = read_choice(request, "sort", "Highest Rated", SORTS)
    limit = request.number("limit", 100, 0, 100)
    levels = EVERYTHING if request.flag("nsfw") else PUBLIC
    models = []
    for repo in hub.visible(NAME):
        if level(repo) & levels and is_in_period(request, published_at(repo)):
            model = describe_model(hub, request, repo, levels) | {"_published": published_at(repo)}
            models += [model] if matches(request, model) else []
    return paginate(request, models, sort, limit, hub.page_size)


def matches(request: Request, model: Mapping[str, Any]) -> bool:
    """Return whether a model matches types, baseModels, query, tag, username, ids and similar parameters."""
    query, version = request.query, model["modelVersions"][0]
    for value in query.get("types", []):
        if value not in TYPES:
            raise HttpError(400, f"Invalid enum value for types: {value!r}")
    ids, versions = read_ids(request, "ids"), read_ids(request, "modelVersionIds")
    hashes = [text for file in version["files"] for text in file["hashes"].values()]
    words = " ".join([model["name"], model["creator"]["username"], *version["trainedWords"], *hashes]).lower()
    return (
        model["type"] in query.get("types", [model["type"]])
        and version["baseModel"] in query.get("baseModels", [version["baseModel"]])
        and request.text("query").lower() in words
        and ("tag" not in query or request.text("tag") in model["tags"])
        and ("username" not in query or request.text("username") == model["creator"]["username"])
        and (not ids or model["id"] in ids)
        and (not versions or version["id"] in versions)
        and (request.flag("archived") or model.get("mode") != "Archived")
        and (not request.flag("earlyAccess") or version["paidAccess"] is not None)
    )


def locate(hub: Hub, table: Mapping[int, Repo], id: str, name: str) -> Repo:
    """Return the visible repository with that id in the table.

    Raises HttpError: 404, or 410 if it was withdrawn in that way.
    """
    repo = table.get(int(id))
    if repo and hub.find(repo.id, NAME):
        return repo
    if repo and hub.withdrawal(repo.id) == "410":
        raise HttpError(410, f"{name} is archived")
    raise HttpError(404, f"No {name.lower()} with id {id}")


def show_model(hub: Hub, request: Request, model: str) -> Response:
    """GET /api/v1/models/{id}."""
    repo = locate(hub, hub.civitai_ids.models, model, "Model")
    return Response(value=describe_model_page(hub, request, repo))


def show_version(hub: Hub, request: Request, version: str) -> Response:
    """GET /api/v1/model-versions/{id}."""
    repo = locate(hub, hub.civitai_ids.versions, version, "Version")
    return Response(value=describe_standalone_version(hub, request, repo, EVERYTHING))


def show_mini(hub: Hub, request: Request, version: str) -> Response:
    """GET /api/v1/model-versions/mini/{id}."""
    repo = locate(hub, hub.civitai_ids.versions, version, "Version")
    entry = describe_standalone_version(hub, request, repo, EVERYTHING)
    file: dict[str, Any] = next(iter(entry["files"]), {})
    return Response(
        value={
            "air": entry["air"],
            "versionName": entry["name"],
            "modelName": entry["model"]["name"],
            "baseModel": entry["baseModel"],
            "availability": entry["availability"],
            "publishedAt": entry["publishedAt"],
            "size": file.get("sizeKB"),
            "hashes": file.get("hashes", {}),
            "downloadUrls": [file["downloadUrl"] for file in entry["files"]],
            "canGenerate": entry["covered"],
        }
    )


def find_hash(hub: Hub, digest: str) -> Repo | None:
    """Return the earliest published repository with a file of this hash, by any of Civitai's hashes."""
    repos = [repo for repo in hub.visible(NAME) if digest.upper() in _hashes(repo)]
    return min(repos, key=lambda repo: to_milliseconds(published_at(repo)), default=None)


def show_hash(hub: Hub, request: Request, digest: str) -> Response:
    """GET /api/v1/model-versions/by-hash/{hash}."""
    if not (repo := find_hash(hub, digest)):
        raise HttpError(404, "Model not found")
    return Response(value=describe_standalone_version(hub, request, repo, EVERYTHING), headers=dict(BY_HASH))


def show_hashes(hub: Hub, request: Request, ids: str | None = None) -> Response:
    """POST /api/v1/model-versions/by-hash[/ids]: a JSON list of hashes."""
    try:
        digests = json.loads(request.body)
    except ValueError as error:
        raise HttpError(400, "Expected a JSON array of hashes") from error
    if not isinstance(digests, list) or not all(isinstance(digest, str) for digest in digests):
        raise HttpError(400, "Expected a JSON array of hashes")
    matches = [(digest.upper(), repo) for digest in digests if (repo := find_hash(hub, digest))]
    if ids:
        return Response(
            value=[
                {"modelVersionId": hub.civitai_ids.version(repo), "hash": digest} for digest, repo in matches
            ]
        )
    return Response(
        value=[describe_standalone_version(hub, request, repo, EVERYTHING) for _, repo in matches]
    )


def _hashes(repo: Repo) -> set[str]:
    return {digest for path in repo.head.weights for digest in hash_blob(repo.head.blobs[path]).values()}
