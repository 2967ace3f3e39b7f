"""JSON entries of the Hugging Face Hub: repositories, their files, and their trees."""

import hashlib
from collections.abc import Iterable
from functools import cache
from typing import Any

from playground.hubs.repos import Blob, Commit, Repo, as_list, tags

LISTED = ("_id", "id", "modelId", "createdAt", "downloads", "likes", "private", "tags", "pipeline_tag")
FULL = (*LISTED, "library_name", "author", "sha", "lastModified", "gated", "disabled", "siblings")


@cache
def describe_repo(repo: Repo, commit: Commit) -> dict[str, Any]:
    """Return all fields of a repository at a commit; the value is cached: copy it before a change."""
    card = commit.card
    return {
        "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.author,
        "sha": commit.sha,
        "lastModified": commit.date,
        "createdAt": repo.created_at,
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": repo.downloads,
        "downloadsAllTime": repo.downloads,
        "likes": repo.downloads // 10,
        "trendingScore": 0,
        "library_name": card.get("library_name"),
        "pipeline_tag": card.get("pipeline_tag"),
        "tags": tags(card),
        "cardData": dict(card),
        "widgetData": card.get("widget", []),
        "baseModels": as_list(card.get("base_model")),
        "config": {},
        "spaces": [],
        "usedStorage": sum(blob.size for blob in commit.blobs.values()),
        "siblings": [{"rfilename": path} for path in sorted(commit.blobs)],
        **repo.overrides.get("huggingface", {}),
    }


def list_files(commit: Commit) -> list[dict[str, Any]]:
    """Return the siblings with the sizes and hashes that `blobs=true` adds."""
    return [_sibling(path, blob) for path, blob in sorted(commit.blobs.items())]


def list_tree(commit: Commit, paths: Iterable[str]) -> list[dict[str, Any]]:
    """Return the tree entries of files and folders, sorted by path."""
    return [_entry(path, commit.blobs.get(path)) for path in sorted(paths)]


def _sibling(path: str, blob: Blob) -> dict[str, Any]:
    sibling = {"rfilename": path, "size": blob.size, "blobId": blob.oid}
    if blob.pointer_size is not None:
        sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return sibling


def _entry(path: str, blob: Blob | None) -> dict[str, Any]:
    if blob is None:
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
    entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid}
    if blob.pointer_size is not None:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry
