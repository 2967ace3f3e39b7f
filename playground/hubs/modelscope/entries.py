"""JSON entries of ModelScope: repositories in the formats of the open and the legacy API, and their files."""

import datetime
import hashlib
import json
from itertools import chain
from typing import Any
from urllib.parse import quote

from playground.hubs.repos import Blob, Commit, Repo, as_list, list_folder

TASK = "text-to-image-synthesis"
SYSTEM_TAGS = ("LoRA",)


def describe_open(repo: Repo) -> dict[str, Any]:
    """Return a model in the open API's format."""
    commit = repo.head
    entry = {
        "id": repo.id,
        "display_name": repo.id.rpartition("/")[2],
        "description": "",
        "tags": prefixed_tags(commit),
        "tasks": [TASK],
        "license": commit.card.get("license"),
        "downloads": repo.downloads,
        "likes": repo.downloads // 10,
        "file_size": sum(blob.size for blob in commit.blobs.values()),
        "params": 0,
        "private": False,
        "gated": False,
        "created_at": seconds_date(repo.created_at),
        "last_modified": seconds_date(commit.date),
    }
    return _overridden(entry, repo)


def describe_legacy(repo: Repo, base: str) -> dict[str, Any]:
    """Return a model in the legacy API's format, the only one with base model, trigger words and cover images.

    base: URL of the API's root, for the URLs of cover images.
    """
    commit = repo.head
    owner, _, name = repo.id.partition("/")
    entry = {
        "Id": model_id(repo),
        "Name": name,
        "Path": owner,
        "ChineseName": "",
        "ModelType": ["lora"],
        "Tags": list_tags(commit),
        "Tasks": [{"Name": TASK}],
        "Libraries": as_list(commit.card.get("library_name")),
        "OfficialTags": [],
        "BaseModel": [f"{model}@master" for model in as_list(commit.card.get("base_model"))],
        "BaseModelRelation": "adapter",
        "VisionFoundation": "FLUX_1",
        "AigcType": "LoRA",
        "TriggerWords": trigger_words(commit),
        "MuseInfo": muse_info(repo, base),
        "Downloads": repo.downloads,
        "Stars": repo.downloads // 10,
        "License": commit.card.get("license"),
        "Visibility": 5,
        "ProtectedMode": 2,
        "Revision": "master",
        "StorageSize": sum(blob.size for blob in commit.blobs.values()),
        "CreatedTime": epoch(repo.created_at),
        "LastUpdatedTime": epoch(commit.date),
    }
    return _overridden(entry, repo)


def model_id(repo: Repo) -> int:
    """Return the number of a model: a digest of its name."""
    return int.from_bytes(hashlib.sha256(repo.id.encode()).digest()[:4], "big") >> 1


def muse_info(repo: Repo, base: str) -> str:
    """Return the JSON text of a model's version: its files, trigger words and cover images; empty without images.

    On ModelScope the cover images are copies on another host; here they are the images of the repository.
    """
    commit = repo.head
    if not commit.images:
        return ""
    covers = [
        {"url": f"{base}/models/{repo.id}/resolve/master/{quote(path)}", "prompt": prompt}
        for path, prompt in commit.images.items()
    ]
    words = json.dumps(trigger_words(commit))
    version = {
        "stats": {"fileList": [path.rpartition("/")[2] for path in commit.weights]},
        "modelVersion": {"id": 1, "modelId": model_id(repo), "showName": "v1", "triggerWords": words},
        "coverImages": covers,
    }
    return json.dumps({"versions": [version]}, ensure_ascii=False)


def trigger_words(commit: Commit) -> list[str]:
    """Return the card's trigger words."""
    return [str(word) for word in as_list(commit.card.get("instance_prompt"))]


def list_files(commit: Commit, root: str, recursive: bool) -> list[dict[str, Any]] | None:
    """Return the entries of the folders and files in a folder; None if the folder does not exist."""
    folders_and_files = list_folder(commit, root, recursive)
    if folders_and_files is None:
        return None
    return [_entry(commit, path, commit.blobs.get(path)) for path in chain(*folders_and_files)]


def list_tags(commit: Commit) -> list[str]:
    """Return the tags: ModelScope's own, those of the card, and one per base model."""
    own = [str(tag) for tag in as_list(commit.card.get("tags"))]
    bases = [f"base_model:adapter:{base}" for base in as_list(commit.card.get("base_model"))]
    return [*SYSTEM_TAGS, *(tag for tag in own if tag.lower() != "lora"), *bases]


def prefixed_tags(commit: Commit) -> list[str]:
    """Return the tags of a list entry: task, library, license, and with `custom_tag:` all others."""
    libraries = [f"library:{name}" for name in as_list(commit.card.get("library_name"))]
    licenses = [f"license:{name}" for name in as_list(commit.card.get("license"))]
    return [f"custom_tag:{tag}" for tag in list_tags(commit)] + [f"task:{TASK}", *libraries, *licenses]


def seconds_date(date: str) -> str:
    """Return a date without fractions of a second: `2026-01-02T03:04:05Z`."""
    return f"{date.partition('.')[0]}Z"


def epoch(date: str) -> int:
    """Return a date as seconds since 1970."""
    return int(datetime.datetime.fromisoformat(date).timestamp())


def _overridden(entry: dict[str, Any], repo: Repo) -> dict[str, Any]:
    """Return an entry with the values of the repository's line in schedule.jsonl."""
    overrides = repo.overrides.get("modelscope", {})
    return entry | {name: value for name, value in overrides.items() if name in entry}


def _entry(commit: Commit, path: str, blob: Blob | None) -> dict[str, Any]:
    oid = blob.oid if blob else hashlib.sha1(path.encode()).hexdigest()
    return {
        "CommitMessage": "upload",
        "CommittedDate": epoch(commit.date),
        "CommitterName": "playground",
        "Id": oid,
        "InCheck": False,
        "IsLFS": bool(blob and blob.pointer_size is not None),
        "Mode": "33188" if blob else "16384",
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Revision": commit.sha,
        "Sha256": blob.sha256 if blob else "",
        "Size": blob.size if blob else 0,
        "Type": "blob" if blob else "tree",
    }
