"""Civitai's /images: the images of all versions with their prompts, which /models does not return."""

import re
from typing import Any

from playground.hubs.civitai.entries import (
    LEVELS,
    PG13,
    PUBLIC,
    describe_image,
    describe_model,
    image_level,
    username,
)
from playground.hubs.civitai.models import NAME
from playground.hubs.civitai.paging import paginate, read_ids
from playground.hubs.http_messages import HttpError, Request, Response
from playground.hubs.repos import Repo
from playground.hubs.state import Hub

REACTIONS = ("cryCount", "laughCount", "likeCount", "dislikeCount", "heartCount", "commentCount")


def list_images(hub: Hub, request: Request) -> Response:
    """GET /api/v1/images: one page of the images of a version or a user; with prompts if `withMeta` is set."""
    limit = request.number("limit", 100, 0, 200)
    levels = request.number("browsingLevel", PUBLIC, 0, 63)
    versions = read_ids(request, "modelVersionId")
    if not re.fullmatch(r"\w*", request.text("username"), re.ASCII):
        raise HttpError(400, 'The "username" field can only contain letters, numbers, and _.')
    images = []
    for repo in hub.visible(NAME):
        model = describe_model(hub, request, repo, levels)
        version = model["modelVersions"][0]
        if (
            (versions and version["id"] not in versions)
            or ("username" in request.query and request.text("username") != username(repo))
            or (model["poi"] or model["minor"] or model.get("mode") == "TakenDown")
            or not image_level(repo) & levels
        ):
            continue
        images += [
            describe_listed_image(hub, request, repo, path) | {"baseModel": version["baseModel"]}
            for path in repo.head.images
        ]
    return paginate(request, images, "Newest", limit, hub.page_size)


def describe_listed_image(hub: Hub, request: Request, repo: Repo, path: str) -> dict[str, Any]:
    """Return an image's entry in /images.

    Its URL ends in the image's UUID.
    """
    image, prompt = describe_image(hub, repo, path), repo.head.images[path]
    meta: dict[str, Any] | None = None
    if request.flag("withMeta"):
        meta = {"prompt": prompt, "negativePrompt": "", "steps": 28, "cfgScale": 3.5, "sampler": "Euler"}
        meta["seed"] = image["id"] % 10**6
    bit, version = image.pop("nsfwLevel"), hub.civitai_ids.version(repo)
    uuid = hub.civitai_ids.image_uuid(repo, path)
    return {
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
