"""Civitai's models: the list, and single entries."""

from collections.abc import Mapping
from typing import Any

from playground.hubs.civitai.access import published_at
from playground.hubs.civitai.entries import (
    EVERYTHING,
    PUBLIC,
    describe_model,
    describe_model_page,
    level,
)
from playground.hubs.civitai.paging import SORTS, paginate, read_choice
from playground.hubs.http_messages import HttpError, Request, Response
from playground.hubs.repos import Repo
from playground.hubs.state import Hub

NAME = "civitai"
TYPES = ("Checkpoint", "TextualInversion", "Hypernetwork", "LORA", "LoCon", "DoRA", "VAE", "Other")


def list_models(hub: Hub, request: Request) -> Response:
    """GET /api/v1/models: one page of the filtered, sorted list."""
    sort = read_choice(request, "sort", "Highest Rated", tuple(SORTS))
    read_choice(request, "period", "AllTime", ("AllTime",))
    limit = request.number("limit", 100, 0, 100)
    levels = EVERYTHING if request.flag("nsfw") else PUBLIC
    models = []
    for repo in hub.visible(NAME):
        if level(repo) & levels:
            model = describe_model(hub, request, repo, levels) | {"_published": published_at(repo)}
            models += [model] if matches(request, model) else []
    return paginate(request, models, sort, limit, hub.page_size)


def matches(request: Request, model: Mapping[str, Any]) -> bool:
    """Return whether a model is listed, and has one of the requested types and base models."""
    query, base = request.query, model["modelVersions"][0]["baseModel"]
    for value in query.get("types", []):
        if value not in TYPES:
            raise HttpError(400, f"Invalid enum value for types: {value!r}")
    return (
        model["type"] in query.get("types", [model["type"]])
        and base in query.get("baseModels", [base])
        and model.get("mode") != "Archived"
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
