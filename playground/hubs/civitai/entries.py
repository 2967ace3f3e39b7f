"""JSON entries of Civitai: a repository as a model with one version, its files with hashes, and its images."""

import html
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from PIL import Image, UnidentifiedImageError

from playground.hubs.civitai.access import paid_access, published_at
from playground.hubs.civitai.files import describe_files, model_type
from playground.hubs.http_messages import Request
from playground.hubs.repos import Blob, Repo, as_list
from playground.hubs.state import Hub

PG, PG13, MATURE, X, XXX, BLOCKED = (1 << bit for bit in range(6))
PUBLIC, EVERYTHING = PG, PG | PG13 | MATURE | X | XXX
LEVELS = {PG: "None", PG13: "Soft", MATURE: "Mature", X: "X", XXX: "X", BLOCKED: "Blocked"}
"""nsfwLevel -> its name in /images"""
NSFW_TAG = "not-for-all-audiences"
BASES = {
    "black-forest-labs/FLUX.1-schnell": "Flux.1 S",
    "black-forest-labs/FLUX.1-dev": "Flux.1 D",
    "black-forest-labs/FLUX.1-Krea-dev": "Flux.1 Krea",
    "black-forest-labs/FLUX.1-Kontext-dev": "Flux.1 Kontext",
    "black-forest-labs/FLUX.2-dev": "Flux.2 D",
    "stabilityai/stable-diffusion-xl-base-1.0": "SDXL 1.0",
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "SD 1.5",
}
USUAL = (True, ("Image", "RentCivit"), True, True)
PERMISSIONS = {
    "apache-2.0": (False, ("Image", "RentCivit", "Rent", "Sell"), True, True),
    "mit": (False, ("Image", "RentCivit", "Rent", "Sell"), True, True),
    "cc0-1.0": (True, ("Image", "RentCivit", "Rent", "Sell"), True, True),
    "cc-by-4.0": (False, ("Image", "RentCivit", "Rent", "Sell"), True, True),
    "cc-by-nc-4.0": (False, ("None",), True, True),
    "cc-by-nc-nd-4.0": (False, ("None",), False, True),
    "cc-by-sa-4.0": (False, ("Image", "RentCivit", "Rent", "Sell"), True, False),
    "creativeml-openrail-m": (True, ("Image", "RentCivit", "Rent", "Sell"), True, False),
}
"""license of the card -> allowNoCredit, allowCommercialUse, allowDerivatives, allowDifferentLicense"""


def level(repo: Repo) -> int:
    """Return a repository's nsfwLevel, a sum of bits."""
    tagged = NSFW_TAG in as_list(repo.head.card.get("tags"))
    return int(repo.overrides.get("civitai", {}).get("nsfwLevel", MATURE if tagged else PG))


def image_level(repo: Repo) -> int:
    """Return the nsfwLevel of a repository's images: the highest bit of the repository's."""
    return 1 << level(repo).bit_length() - 1


def username(repo: Repo) -> str:
    """Return the name of the user who published a repository; Civitai's names have no hyphens."""
    return re.sub(r"\W", "_", repo.author, flags=re.ASCII)


def describe_model(hub: Hub, request: Request, repo: Repo, levels: int) -> dict[str, Any]:
    """Return a model's entry in lists; images outside the nsfw levels `levels` (bits) are left out."""
    version = describe_version(hub, request, repo, levels)
    entry = _describe_model(hub, repo, version)
    hidden = {name: version.pop(name) for name in ("createdAt", "status", "covered")}
    version["supportsGeneration"] = hidden["covered"]
    return entry


def describe_model_page(hub: Hub, request: Request, repo: Repo) -> dict[str, Any]:
    """Return a model's own entry: versions have more fields, but none that are null or an empty list.

    Its images have no `id`.
    """
    version = describe_version(hub, request, repo, EVERYTHING)
    for image in version["images"]:
        del image["id"]
    return _describe_model(
        hub, repo, {name: value for name, value in version.items() if value not in (None, [])}
    )


def _describe_model(hub: Hub, repo: Repo, version: dict[str, Any]) -> dict[str, Any]:
    card = repo.head.card
    no_credit, commercial, derivatives, different = PERMISSIONS.get(str(card.get("license")), USUAL)
    model = {
        "id": hub.civitai_ids.model(repo),
        "name": repo.id.rpartition("/")[2],
        "description": f"<p>{html.escape(repo.id)}</p>",
        "allowNoCredit": no_credit,
        "allowCommercialUse": list(commercial),
        "allowDerivatives": derivatives,
        "allowDifferentLicense": different,
        "type": model_type(repo.head.blobs[repo.head.weights[0]]) if repo.head.weights else "LORA",
        "minor": False,
        "sfwOnly": False,
        "poi": False,
        "nsfw": level(repo) > PG13,
        "nsfwLevel": level(repo),
        "availability": "Public",
        "cosmetic": None,
        "userId": hub.civitai_ids.user(repo),
        "baseModels": [version["baseModel"]],
        "supportsGeneration": True,
        "stats": {"downloadCount": repo.downloads, **thumbs(repo), "commentCount": 0, "tippedAmountCount": 0},
        "creator": {"username": username(repo), "image": None},
        "tags": [str(tag) for tag in as_list(card.get("tags"))],
        "modelVersions": [version],
    }
    if mode := {"archived": "Archived", "taken-down": "TakenDown"}.get(hub.withdrawal(repo.id) or ""):
        model["mode"] = mode
    return overlay(model, repo)


def describe_version(hub: Hub, request: Request, repo: Repo, levels: int) -> dict[str, Any]:
    """Return all fields of a model's only version."""
    card, withdrawal = repo.head.card, hub.withdrawal(repo.id)
    base = next((str(name) for name in as_list(card.get("base_model"))), "")
    images = repo.head.images if image_level(repo) & levels and withdrawal != "taken-down" else {}
    version: dict[str, Any] = {
        "id": hub.civitai_ids.version(repo),
        "index": 0,
        "name": "v1",
        "baseModel": BASES.get(base, "Other"),
        "baseModelType": "Standard",
        "createdAt": repo.created_at,
        "publishedAt": published_at(repo),
        "status": "Published",
        "availability": "Public",
        "nsfwLevel": level(repo),
        "description": None,
        "trainedWords": [str(word) for word in as_list(card.get("instance_prompt"))],
        "covered": True,
        "stats": {"downloadCount": repo.downloads, **thumbs(repo)},
        "files": [] if withdrawal == "archived" else describe_files(hub, request, repo),
        "images": [describe_image(hub, repo, path) for path in images],
    }
    if version["files"]:
        version["downloadUrl"] = version["files"][0]["downloadUrl"]
    version = overlay(version, repo) | {"paidAccess": paid_access(repo)}
    if version["paidAccess"] and version["paidAccess"]["endsAt"]:
        version["earlyAccessDeadline"] = version["paidAccess"]["endsAt"]
    return version


def describe_image(hub: Hub, repo: Repo, path: str) -> dict[str, Any]:
    """Return an image's entry in /models, which has no prompt; its URL ends in the image's id."""
    image_id, blob = hub.civitai_ids.image(repo, path), repo.head.blobs[path]
    width, height = image_size(blob)
    return {
        "id": image_id,
        "url": f"{hub.storage}/civitai/images/{hub.civitai_ids.image_uuid(repo, path)}/original=true/{image_id}.jpeg",
        "nsfwLevel": image_level(repo),
        "width": width,
        "height": height,
        "hash": f"U{blob.sha256[:27]}",
        "type": "image",
        "minor": False,
        "poi": False,
        "hasMeta": bool(repo.head.images[path]),
        "hasPositivePrompt": bool(repo.head.images[path]),
        "onSite": False,
        "remixOfId": None,
    }


@cache
def image_size(blob: Blob) -> tuple[int | None, int | None]:
    """Return an image's width and height; None if it is not a valid image."""
    if isinstance(blob.source, bytes):
        return None, None
    try:
        with Image.open(blob.source) as image:
            return image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None, None


def thumbs(repo: Repo) -> dict[str, int]:
    """Return the numbers of likes and dislikes."""
    return {"thumbsUpCount": repo.downloads // 10, "thumbsDownCount": repo.downloads // 1000}


def overlay(entry: dict[str, Any], repo: Repo) -> dict[str, Any]:
    """Return the entry with its fields replaced by the schedule's overrides for Civitai."""
    overrides: Mapping[str, Any] = repo.overrides.get("civitai", {})
    return entry | {name: value for name, value in overrides.items() if name in entry}
