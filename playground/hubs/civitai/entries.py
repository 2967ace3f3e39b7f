"""JSON entries of Civitai: a repository as a model with one version, its files with hashes, and its images."""

import hashlib
import html
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from PIL import Image, UnidentifiedImageError

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
TYPE_BY_KEY = {b"lokr_w": "LoCon", b"hada_w": "LoCon", b"dora_scale": "DoRA", b"magnitude_vector": "DoRA"}
HEADER = 1 << 20
SCAN = {
    "pickleScanResult": "Success",
    "pickleScanMessage": "No Pickle imports",
    "virusScanResult": "Success",
    "virusScanMessage": None,
}


def level(repo: Repo) -> int:
    """Return a repository's nsfwLevel, a sum of bits."""
    tagged = NSFW_TAG in as_list(repo.head.card.get("tags"))
    return int(repo.overrides.get("civitai", {}).get("nsfwLevel", MATURE if tagged else PG))


def image_level(repo: Repo) -> int:
    """Return the nsfwLevel of a repository's images: the highest bit of the repository's."""
    return 1 << level(repo).bit_length() - 1


def describe_model(hub: Hub, request: Request, repo: Repo, levels: int) -> dict[str, Any]:
    """Return a model's entry in lists; images outside the nsfw levels `levels` (bits) are left out."""
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
        "poi": False,
        "nsfw": level(repo) > PG13,
        "nsfwLevel": level(repo),
        "availability": "Public",
        "supportsGeneration": True,
        "stats": {"downloadCount": repo.downloads, **thumbs(repo), "commentCount": 0, "tippedAmountCount": 0},
        "creator": {"username": repo.author, "image": None},
        "tags": [str(tag) for tag in as_list(card.get("tags"))],
        "modelVersions": [{"index": 0, **describe_version(hub, request, repo, levels)}],
    }
    if mode := {"archived": "Archived", "taken-down": "TakenDown"}.get(hub.withdrawal(repo.id) or ""):
        model["mode"] = mode
    return overlay(model, repo)


def describe_version(hub: Hub, request: Request, repo: Repo, levels: int) -> dict[str, Any]:
    """Return the entry of a model's only version, as nested in the model's entry."""
    card, withdrawal = repo.head.card, hub.withdrawal(repo.id)
    base = next((str(name) for name in as_list(card.get("base_model"))), "")
    images = repo.head.images if image_level(repo) & levels and withdrawal != "taken-down" else {}
    version: dict[str, Any] = {
        "id": hub.civitai_ids.version(repo),
        "name": "v1",
        "baseModel": BASES.get(base, "Other"),
        "baseModelType": "Standard",
        "createdAt": repo.created_at,
        "publishedAt": repo.published_at,
        "status": "Published",
        "availability": "Public",
        "nsfwLevel": level(repo),
        "description": None,
        "trainedWords": [str(word) for word in as_list(card.get("instance_prompt"))],
        "covered": True,
        "stats": {"downloadCount": repo.downloads, **thumbs(repo)},
        "supportsGeneration": True,
        "files": [] if withdrawal == "archived" else describe_files(hub, request, repo),
        "images": [describe_image(hub, repo, path) for path in images],
    }
    if version["files"]:
        version["downloadUrl"] = version["files"][0]["downloadUrl"]
    return overlay(version, repo)


def describe_standalone_version(hub: Hub, request: Request, repo: Repo, levels: int) -> dict[str, Any]:
    """Return the version's entry in the format of /model-versions and by-hash."""
    version = describe_version(hub, request, repo, levels)
    model = describe_model(hub, request, repo, levels)
    return {
        "id": version.pop("id"),
        "modelId": model["id"],
        **version,
        "updatedAt": repo.head.date,
        "air": f"urn:air:flux1:lora:civitai:{model['id']}@{hub.civitai_ids.version(repo)}",
        "model": {name: model[name] for name in ("name", "type", "nsfw", "poi")},
    }


def describe_files(hub: Hub, request: Request, repo: Repo) -> list[dict[str, Any]]:
    """Return the entries of the weight files, the primary file first."""
    url = f"{request.base}/api/download/models/{hub.civitai_ids.version(repo)}"
    files: list[dict[str, Any]] = []
    for path in repo.head.weights:
        blob, file_id = repo.head.blobs[path], hub.civitai_ids.file(repo, path)
        primary: dict[str, Any] = {"primary": True} if not files else {}
        files.append(
            {
                "id": file_id,
                "sizeKB": blob.size / 1024,
                "name": path.rpartition("/")[2],
                "type": "Model",
                **SCAN,
                "scannedAt": repo.created_at,
                "metadata": describe_format(path, blob),
                "hashes": hash_blob(blob),
                "downloadUrl": url if primary else f"{url}?type=Model&fileId={file_id}",
                **primary,
            }
        )
    return files


@cache
def hash_blob(blob: Blob) -> dict[str, str]:
    """Return Civitai's name of the hash -> a file's hash, in upper case."""
    content = blob.read(0, blob.size)
    data = content[8 + int.from_bytes(content[:8], "little") :]
    hashes = {
        "AutoV1": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
        "AutoV2": blob.sha256[:10],
        "AutoV3": hashlib.sha256(data).hexdigest()[:12],
        "SHA256": blob.sha256,
        "CRC32": f"{zlib.crc32(content):08x}",
    }
    return {name: value.upper() for name, value in hashes.items()}


@cache
def describe_format(path: str, blob: Blob) -> dict[str, Any]:
    """Return a file's metadata: its format (by the name) and dtype (by the header)."""
    header = blob.read(0, min(blob.size, HEADER))
    fp = "bf16" if b'"BF16"' in header else "fp32" if b'"F32"' in header else "fp16"
    return {"format": "SafeTensor" if path.endswith(".safetensors") else "PickleTensor", "fp": fp}


@cache
def model_type(blob: Blob) -> str:
    """Return the type of a weight file, LORA, LoCon or DoRA, by the key names in its header."""
    header = blob.read(0, min(blob.size, HEADER))
    return next((name for key, name in TYPE_BY_KEY.items() if key in header), "LORA")


def describe_image(hub: Hub, repo: Repo, path: str) -> dict[str, Any]:
    """Return an image's entry in /models, which has no prompt."""
    image_id, blob = hub.civitai_ids.image(repo, path), repo.head.blobs[path]
    width, height = image_size(blob)
    return {
        "id": image_id,
        "url": f"{hub.storage}/civitai/images/{image_id}.{path.rpartition('.')[2]}",
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
