"""Civitai's images: the pictures of all versions, and the prompts that /models does not tell."""

from typing import TYPE_CHECKING, Any

from playground.hubs.civitai.facts import (
    EVERYTHING,
    LEVELS,
    MATURE,
    PG13,
    PUBLIC,
    describe_image,
    describe_model,
    image_level,
)
from playground.hubs.civitai.models import NAME
from playground.hubs.civitai.pages import numbers, one_of, paginate
from playground.hubs.exchange import Answer, Request
from playground.hubs.repos import Repo, as_list

if TYPE_CHECKING:
    from playground.hub import Hub

SORTS = ("Newest", "Oldest", "Most Reactions", "Most Comments", "Most Collected")
REACTIONS = ("cryCount", "laughCount", "likeCount", "dislikeCount", "heartCount", "commentCount")
SEEN = {"None": PUBLIC, "Soft": PUBLIC | PG13, "Mature": PUBLIC | PG13 | MATURE, "X": EVERYTHING}


def list_images(hub: "Hub", request: Request) -> Answer:
    """GET /api/v1/images: with their prompts where `withMeta` asks for them."""
    limit = request.number("limit", 100, 0, 200)
    sort = one_of(request, "sort", "Newest", SORTS)
    seen = EVERYTHING if request.flag("nsfw") else SEEN.get(request.text("nsfw"), PUBLIC)
    seen = request.number("browsingLevel", seen, 0, 63)
    models, versions = numbers(request, "modelId"), numbers(request, "modelVersionId")
    wanted, bases = numbers(request, "imageId"), request.text("baseModels")
    images = []
    for repo in hub.visible(NAME):
        told = describe_model(hub, request, repo, seen)
        version = told["modelVersions"][0]
        if (
            (models and told["id"] not in models)
            or (versions and version["id"] not in versions)
            or (bases and version["baseModel"] not in bases.split(","))
            or ("username" in request.query and request.text("username") != repo.author)
            or (told["poi"] or told["minor"] or told.get("mode") == "TakenDown")
            or not image_level(repo) & seen
        ):
            continue
        images += [
            tell_image(hub, request, repo, path) | {"baseModel": version["baseModel"]}
            for path in repo.head.pictures
        ]
    images = [image for image in images if not wanted or image["id"] in wanted]
    return paginate(request, images, sort, limit, hub.page_size)


def tell_image(hub: "Hub", request: Request, repo: Repo, path: str) -> dict[str, Any]:
    """Return an image as /images tells it; `meta` is nested where no version is named and nobody objects."""
    image, prompt = describe_image(hub, repo, path), repo.head.pictures[path]
    meta: dict[str, Any] | None = None
    if request.flag("withMeta"):
        meta = {"prompt": prompt, "negativePrompt": "", "steps": 28, "cfgScale": 3.5, "sampler": "Euler"}
        meta["seed"] = image["id"] % 10**6
        if not request.flag("flatMeta") and "modelVersionId" not in request.query:
            meta = {"id": image["id"], "meta": meta}
    bit, version = image.pop("nsfwLevel"), hub.numbers.version(repo)
    told = {
        "id": image["id"],
        "url": image["url"].replace("/images/", "/images/original=true/"),
        **{name: image[name] for name in ("hash", "width", "height", "type")},
        "nsfwLevel": LEVELS[bit],
        "nsfw": bit > PG13,
        "browsingLevel": bit,
        "createdAt": repo.created_at,
        "postId": version,
        "stats": dict.fromkeys(REACTIONS, 0),
        "meta": meta,
        "username": repo.author,
        "modelVersionIds": [version],
        "_published": repo.created_at,
    }
    if request.flag("withTags"):
        names = as_list(repo.head.card.get("tags"))
        told["tags"] = [{"id": number, "name": str(name)} for number, name in enumerate(names, 1)]
    return told
