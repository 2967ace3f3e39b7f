"""Civitai's /images: the images of all versions with their prompts, which /models does not return."""

import re
from typing import Any

from playground.hubs.civitai.entries import (
    EVERYTHING,
    LEVELS,
    MATURE,
    PG13,
    PUBLIC,
    describe_image,
    describe_model,
    image_level,
    username,
)
from playground.hubs.civitai.models import NAME
from playground.hubs.civitai.paging import paginate, read_choice, read_ids
from playground.hubs.http_messages import HttpError, Request, Response
from playground.hubs.repos import Repo, as_list
from playground.hubs.state import Hub

SORTS = ("Newest", "Oldest", "Most Reactions", "Most Comments", "Most Collected")
REACTIONS = ("cryCount", "laughCount", "likeCount", "dislikeCount", "heartCount", "commentCount")
LEVELS_OF_NSFW = {"None": PUBLIC, "Soft": PUBLIC | PG13, "Mature": PUBLIC | PG13 | MATURE, "X": EVERYTHING}


def list_images(hub: Hub, request: Request) -> Response:
    """GET /api/v1/images: one page of the filtered, sorted list; with prompts if `withMeta` is set."""
    limit = request.number("limit", 100, 0, 200)
    sort = read_choice(request, "sort", "Newest", SORTS)
    levels = EVERYTHING if request.flag("nsfw") else LEVELS_OF_NSFW.get(request.text("nsfw"), PUBLIC)
    levels = request.number("browsingLevel", levels, 0, 63)
    models, versions = read_ids(request, "modelId"), read_ids(request, "modelVersionId")
    image_ids, bases = read_ids(request, "imageId"), request.text("baseModels")
    if not re.fullmatch(r"\w*", request.text("username"), re.ASCII):
        raise HttpError(400, 'The "username" field can only contain letters, numbers, and _.')
    images = []
    for repo in hub.visible(NAME):
        model = describe_model(hub, request, repo, levels)
        version = model["modelVersions"][0]
        if (
            (models and model["id"] not in models)
            or (versions and version["id"] not in versions)
            or (bases and version["baseModel"] not in bases.split(","))
            or ("username" in request.query and request.text("username") != username(repo))
            or (model["poi"] or model["minor"] or model.get("mode") == "TakenDown")
            or not image_level(repo) & levels
        ):
            continue
        images += [
            describe_listed_image(hub, request, repo, path) | {"baseModel": version["baseModel"]}
            for path in repo.head.images
        ]
    images = [image for image in images if not image_ids or image["id"] in image_ids]
    return paginate(request, images, sort, limit, hub.page_size)


def describe_listed_image(hub: Hub, request: Request, repo: Repo, path: str) -> dict[str, Any]:
    """Return an image's entry in /images.

    Its URL ends in the image's UUID. `meta` is nested in another `meta`, as on Civitai, unless `flatMeta` is set or the
    request names a version.
    """
    image, prompt = describe_image(hub, repo, path), repo.head.images[path]
    meta: dict[str, Any] | None = None
    if request.flag("withMeta"):
        meta = {"prompt": prompt, "negativePrompt": "", "steps": 28, "cfgScale": 3.5, "sampler": "Euler"}
        meta["seed"] = image["id"] % 10**6
        if not request.flag("flatMeta") and "modelVersionId" not in request.query:
            meta = {"id": image["id"], "meta": meta}
    bit, version = image.pop("nsfwLevel"), hub.civitai_ids.version(repo)
    uuid = hub.civitai_ids.image_uuid(repo, path)
    entry = {
        "id": image["id"],
        "url": image["url"].replace(f"/{image['id']}.", f"/{uuid}."),
        **{name: image[name] for name in ("hash", "width", "height", "type")},
        "nsfwLevel": LEVELS[bit],
        "nsfw": bit > PG13,
        "browsingLevel": bit,
        "createdAt": repo.created_at,
        "postId": version,
        "stats": dict.fromkeys(REACTIONS, 0),
        "meta": meta,
        "username": username(repo),
        "modelVersionIds": [version],
        "_published": repo.created_at,
    }
    if request.flag("withTags"):
        names = as_list(repo.head.card.get("tags"))
        entry["tags"] = [{"id": number, "name": str(name)} for number, name in enumerate(names, 1)]
    return entry
