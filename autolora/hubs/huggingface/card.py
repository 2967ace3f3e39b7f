"""Parsing of a Hugging Face repository's entry: its commit, files and model card."""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from autolora.hubs.descriptions import describe
from autolora.hubs.validation import (
    as_list,
    clean_text,
    clean_texts,
    is_image,
    is_repo_id,
    is_restricted,
    is_safe_path,
    is_weights,
    parse_time,
    short_repr,
    tag_value,
    valid_count,
)

COMMIT = re.compile(r"[0-9a-f]{40}")
NSFW_TAG = "not-for-all-audiences"
BASE_TAG = "base_model:adapter:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A repository at one commit."""

    id: str
    sha: str
    updated: datetime.datetime
    restricted: bool
    """private, disabled or gated: its files require a permission"""
    files: frozenset[str]
    """safe relative paths"""
    license: str | None
    base_model: str | None
    nsfw: bool
    downloads: int | None
    trigger_words: tuple[str, ...]
    description: tuple[str, ...]
    images: tuple[tuple[str, str | None], ...]
    """path and prompt of each image of the model card, in its order"""

    @property
    def weights(self) -> list[str]:
        """Paths of the safetensors files, sorted."""
        return sorted(path for path in self.files if is_weights(path))

    def url(self, endpoint_url: str, path: str) -> str:
        """Return the URL of a file at this commit."""
        return file_url(endpoint_url, self.id, self.sha, path)


def parse_card(item: Any, endpoint_url: str) -> Card:
    """Return one repository of a list page; invalid fields of its model card count as missing.

    Raises ValueError if the id, commit, date, file list or one of the access fields is not valid.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"a repository must be an object, not {short_repr(item)}")
    repo_id, sha, siblings = item.get("id"), item.get("sha"), item.get("siblings")
    if not is_repo_id(repo_id):
        raise ValueError(f"{short_repr(repo_id)} is not a repository id")
    if not isinstance(sha, str) or not COMMIT.fullmatch(sha) or not isinstance(siblings, list):
        raise ValueError(f"{repo_id} has no valid commit (sha) or no list of files (siblings)")
    updated = parse_time(item.get("lastModified"))
    if updated is None:
        raise ValueError(f"{repo_id} has no valid lastModified date")
    card_data = item.get("cardData")
    card = card_data if isinstance(card_data, Mapping) else {}
    tags = as_list(item.get("tags"))
    names: list[Any] = [entry.get("rfilename") for entry in siblings if isinstance(entry, Mapping)]
    files = frozenset(name for name in names if is_safe_path(name))
    return Card(
        id=repo_id,
        sha=sha,
        updated=updated,
        restricted=is_access_restricted(item),
        files=files,
        license=license_of(card, tags),
        base_model=base_model_of(card, tags),
        nsfw=NSFW_TAG in tags or NSFW_TAG in as_list(card.get("tags")),
        downloads=valid_count(item.get("downloads")),
        trigger_words=clean_texts(card.get("instance_prompt")),
        description=describe(None, as_list(card.get("tags"))),
        images=tuple(dict(images_of(card, files, f"{endpoint_url}/{repo_id}/resolve/")).items()),
    )


def file_url(endpoint_url: str, repo_id: str, sha: str, path: str) -> str:
    """Return the URL of a file at a commit."""
    return f"{endpoint_url}/{repo_id}/resolve/{sha}/{quote(path)}"


def is_access_restricted(item: Mapping[str, Any]) -> bool:
    """Return whether a repository's files require a permission. Raises ValueError if a field is not valid."""
    return is_restricted(item, "private", "disabled", "gated")


def license_of(card: Mapping[str, Any], tags: list[Any]) -> str | None:
    """Return the license that a model card states, else that of the repository's tags."""
    license = clean_text(card.get("license")) or tag_value(tags, "license:")
    return clean_text(card.get("license_name")) or license if license == "other" else license


def base_model_of(card: Mapping[str, Any], tags: list[Any]) -> str | None:
    """Return the first base model that a model card states, else that of the repository's tags."""
    base_models = as_list(card.get("base_model"))
    return clean_text(base_models[0]) if base_models else tag_value(tags, BASE_TAG)


def images_of(
    card: Mapping[str, Any], files: frozenset[str], prefix: str
) -> Iterator[tuple[str, str | None]]:
    """Yield path and prompt of the card's images that are files of the repository.

    Images at other URLs are skipped, since they may change without a new commit. prefix: URL of the
    repository's files, followed by a revision and a path.
    """
    for entry in as_list(card.get("widget")):
        output = entry.get("output") if isinstance(entry, Mapping) else None
        url = output.get("url") if isinstance(output, Mapping) else None
        if not isinstance(url, str):
            continue
        if url.startswith(prefix):
            url = url.removeprefix(prefix).partition("/")[2]
        path = url.removeprefix("./")
        path = path if path in files else unquote(path)
        if path in files and is_image(path):
            yield path, clean_text(entry.get("text"))
