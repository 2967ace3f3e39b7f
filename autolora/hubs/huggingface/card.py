"""What a Hugging Face repository says of itself, as far as it can be used."""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from autolora.hubs.validation import (
    clean,
    clean_all,
    count,
    glimpse,
    is_picture,
    is_repo_id,
    is_safe,
    is_set,
    is_weights,
    listed,
    moment,
    tagged,
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
    closed: bool
    """private, disabled, or gated: its files need a permission"""
    files: frozenset[str]
    """safe relative paths"""
    license: str | None
    base_model: str | None
    nsfw: bool
    downloads: int | None
    trigger_words: tuple[str, ...]
    pictures: tuple[tuple[str, str | None], ...]
    """path and prompt of what the card shows, in its order"""

    @property
    def weights(self) -> list[str]:
        """Paths of the safetensors files, sorted."""
        return sorted(path for path in self.files if is_weights(path))

    def url(self, endpoint: str, path: str) -> str:
        """Return where a file lies at this commit."""
        return file_url(endpoint, self.id, self.sha, path)


def read_card(item: Any, endpoint: str) -> Card:
    """Read one repository of a listing page; what is unusable in its card counts as not said.

    Raises ValueError when it has no usable id, commit, date or file list, or may be closed or not.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"a repository must be an object, not {glimpse(item)}")
    repo_id, sha, siblings = item.get("id"), item.get("sha"), item.get("siblings")
    if not is_repo_id(repo_id):
        raise ValueError(f"{glimpse(repo_id)} is no repository id")
    if not isinstance(sha, str) or not COMMIT.fullmatch(sha) or not isinstance(siblings, list):
        raise ValueError(f"{repo_id} comes without a commit or a list of files")
    updated = moment(item.get("lastModified"))
    if updated is None:
        raise ValueError(f"{repo_id} comes without a date of its last change")
    data = item.get("cardData")
    card = data if isinstance(data, Mapping) else {}
    tags = listed(item.get("tags"))
    names: list[Any] = [entry.get("rfilename") for entry in siblings if isinstance(entry, Mapping)]
    files = frozenset(name for name in names if is_safe(name))
    return Card(
        id=repo_id,
        sha=sha,
        updated=updated,
        closed=is_closed(item),
        files=files,
        license=_license(card, tags),
        base_model=_base_model(card, tags),
        nsfw=NSFW_TAG in tags or NSFW_TAG in listed(card.get("tags")),
        downloads=count(item.get("downloads")),
        trigger_words=clean_all(card.get("instance_prompt")),
        pictures=tuple(dict(_pictures(card, files, f"{endpoint}/{repo_id}/resolve/")).items()),
    )


def file_url(endpoint: str, repo_id: str, sha: str, path: str) -> str:
    """Return where a file of a commit lies."""
    return f"{endpoint}/{repo_id}/resolve/{sha}/{quote(path)}"


def is_closed(item: Mapping[str, Any]) -> bool:
    """Tell whether a repository's files need a permission. Raises ValueError where that is not clear."""
    return is_set(item, "private", "disabled", "gated")


def _license(card: Mapping[str, Any], tags: list[Any]) -> str | None:
    named = clean(card.get("license")) or tagged(tags, "license:")
    return clean(card.get("license_name")) or named if named == "other" else named


def _base_model(card: Mapping[str, Any], tags: list[Any]) -> str | None:
    said = listed(card.get("base_model"))
    return clean(said[0]) if said else tagged(tags, BASE_TAG)


def _pictures(
    card: Mapping[str, Any], files: frozenset[str], prefix: str
) -> Iterator[tuple[str, str | None]]:
    """Yield path and prompt of the card's pictures; one outside the repository is not pinned: left out."""
    for entry in listed(card.get("widget")):
        output = entry.get("output") if isinstance(entry, Mapping) else None
        url = output.get("url") if isinstance(output, Mapping) else None
        if not isinstance(url, str):
            continue
        if url.startswith(prefix):
            url = url.removeprefix(prefix).partition("/")[2]
        path = url.removeprefix("./")
        path = path if path in files else unquote(path)
        if path in files and is_picture(path):
            yield path, clean(entry.get("text"))
