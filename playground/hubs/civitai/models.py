"""Civitai's models and their versions: lists, one by one, and by the hash of a file."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from playground.hubs.civitai.facts import EVERYTHING, PUBLIC, describe_alone, describe_model, hash_blob, level
from playground.hubs.civitai.pages import is_recent, moment, numbers, one_of, paginate
from playground.hubs.exchange import Answer, Refused, Request
from playground.hubs.repos import Repo

if TYPE_CHECKING:
    from playground.hub import Hub

NAME = "civitai"
TYPES = ("Checkpoint", "TextualInversion", "Hypernetwork", "LORA", "LoCon", "DoRA", "VAE", "Other")
RATED = ("Most Downloaded", "Most Liked", "Highest Rated", "Most Discussed", "Most Collected", "Most Images")
SORTS = ("Newest", "Oldest", *RATED)
FOR_USERS = ("favorites", "hidden")
BY_HASH = {"Cache-Control": "public, s-maxage=3600"}


def list_models(hub: "Hub", request: Request) -> Answer:
    """GET /api/v1/models: filtered, sorted, one page."""
    if any(name in request.query for name in FOR_USERS) and not request.headers.get("Authorization"):
        raise Refused(401, "Unauthorized")
    sort = one_of(request, "sort", "Highest Rated", SORTS)
    limit = request.number("limit", 100, 0, 100)
    seen = EVERYTHING if request.flag("nsfw") else PUBLIC
    models = []
    for repo in hub.visible(NAME):
        if level(repo) & seen and is_recent(request, repo.published_at):
            model = describe_model(hub, request, repo, seen) | {"_published": repo.published_at}
            models += [model] if is_wanted(request, model) else []
    return paginate(request, models, sort, limit, hub.page_size)


def is_wanted(request: Request, model: Mapping[str, Any]) -> bool:
    """Whether a model passes types, baseModels, query, tag, username, ids and the like."""
    query, version = request.query, model["modelVersions"][0]
    for value in query.get("types", []):
        if value not in TYPES:
            raise Refused(400, f"Invalid enum value for types: {value!r}")
    ids, versions = numbers(request, "ids"), numbers(request, "modelVersionIds")
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
        and (not request.flag("earlyAccess"))
    )


def locate(hub: "Hub", table: Mapping[int, Repo], number: str, name: str) -> Repo:
    """Return the visible repository with that number.

    Raises Refused: 404, or 410 where that is how it was withdrawn.
    """
    repo = table.get(int(number))
    if repo and hub.find(repo.id, NAME):
        return repo
    if repo and hub.withdrawn(repo.id) == "410":
        raise Refused(410, f"{name} is archived")
    raise Refused(404, f"No {name.lower()} with id {number}")


def show_model(hub: "Hub", request: Request, model: str) -> Answer:
    """GET /api/v1/models/{id}."""
    repo = locate(hub, hub.numbers.models, model, "Model")
    return Answer(value=describe_model(hub, request, repo, EVERYTHING))


def show_version(hub: "Hub", request: Request, version: str) -> Answer:
    """GET /api/v1/model-versions/{id}."""
    repo = locate(hub, hub.numbers.versions, version, "Version")
    return Answer(value=describe_alone(hub, request, repo, EVERYTHING))


def show_mini(hub: "Hub", request: Request, version: str) -> Answer:
    """GET /api/v1/model-versions/mini/{id}."""
    told = describe_alone(hub, request, locate(hub, hub.numbers.versions, version, "Version"), EVERYTHING)
    file: dict[str, Any] = next(iter(told["files"]), {})
    return Answer(
        value={
            "air": told["air"],
            "versionName": told["name"],
            "modelName": told["model"]["name"],
            "baseModel": told["baseModel"],
            "availability": told["availability"],
            "publishedAt": told["publishedAt"],
            "size": file.get("sizeKB"),
            "hashes": file.get("hashes", {}),
            "downloadUrls": [file["downloadUrl"] for file in told["files"]],
            "canGenerate": told["supportsGeneration"],
        }
    )


def find_hash(hub: "Hub", digest: str) -> Repo | None:
    """Return the earliest published repository that holds a file with this hash, of whatever kind."""
    found = [repo for repo in hub.visible(NAME) if digest.upper() in _hashes(repo)]
    return min(found, key=lambda repo: moment(repo.published_at), default=None)


def show_hash(hub: "Hub", request: Request, digest: str) -> Answer:
    """GET /api/v1/model-versions/by-hash/{hash}."""
    if not (repo := find_hash(hub, digest)):
        raise Refused(404, "Model not found")
    return Answer(value=describe_alone(hub, request, repo, EVERYTHING), headers=dict(BY_HASH))


def show_hashes(hub: "Hub", request: Request, ids: str | None = None) -> Answer:
    """POST /api/v1/model-versions/by-hash[/ids]: a JSON list of hashes."""
    try:
        digests = json.loads(request.body)
    except ValueError as error:
        raise Refused(400, "Expected a JSON array of hashes") from error
    if not isinstance(digests, list) or not all(isinstance(digest, str) for digest in digests):
        raise Refused(400, "Expected a JSON array of hashes")
    found = [(digest.upper(), repo) for digest in digests if (repo := find_hash(hub, digest))]
    if ids:
        return Answer(
            value=[{"modelVersionId": hub.numbers.version(repo), "hash": digest} for digest, repo in found]
        )
    return Answer(value=[describe_alone(hub, request, repo, EVERYTHING) for _, repo in found])


def _hashes(repo: Repo) -> set[str]:
    return {digest for path in repo.head.weights for digest in hash_blob(repo.head.blobs[path]).values()}
