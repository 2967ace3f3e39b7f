"""What a Hugging Face repository says of itself, with every type checked and every text cleaned."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

REPO_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
NSFW_TAG = "not-for-all-audiences"
MAX_PATH = 500
MAX_TEXT = 2000
MAX_TRIGGER_WORDS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A repository at one commit."""

    id: str
    sha: str
    closed: bool
    """private, disabled, or gated: its files need a permission"""
    files: frozenset[str]
    """safe relative paths"""
    licence: str | None
    base_model: str | None
    nsfw: bool
    trigger_words: tuple[str, ...]
    pictures: tuple[tuple[str, str | None], ...]
    """path and prompt of what the card shows, in its order"""

    @property
    def weights(self) -> list[str]:
        """Paths of the safetensors files, sorted."""
        return sorted(path for path in self.files if path.lower().endswith(".safetensors"))

    def url(self, endpoint: str, path: str) -> str:
        """Return where a file lies at this commit."""
        return f"{endpoint}/{self.id}/resolve/{self.sha}/{quote(path)}"


def read_card(item: Any, endpoint: str) -> Card:
    """Read one repository of a listing page; what is unusable in its card counts as not said.

    Raises ValueError when it has no usable id, commit or file list.
    """
    if not isinstance(item, Mapping):
        raise ValueError(f"a repository must be an object, not {str(item)[:50]!r}")
    repo_id, sha, siblings = item.get("id"), item.get("sha"), item.get("siblings")
    if not isinstance(repo_id, str) or not REPO_ID.fullmatch(repo_id) or ".." in repo_id:
        raise ValueError(f"{str(repo_id)[:100]!r} is no repository id")
    if not isinstance(sha, str) or not COMMIT.fullmatch(sha) or not isinstance(siblings, list):
        raise ValueError(f"{repo_id} comes without a commit or a list of files")
    data = item.get("cardData")
    card = data if isinstance(data, Mapping) else {}
    tags = [tag for tag in _list(item.get("tags")) if isinstance(tag, str)]
    names: list[Any] = [entry.get("rfilename") for entry in siblings if isinstance(entry, Mapping)]
    files = frozenset(name for name in names if is_safe(name))
    return Card(
        id=repo_id,
        sha=sha,
        closed=any(item.get(flag) not in (None, False) for flag in ("private", "disabled", "gated")),
        files=files,
        licence=_licence(card, tags),
        base_model=_base_model(card, tags),
        nsfw=NSFW_TAG in tags or NSFW_TAG in _list(card.get("tags")),
        trigger_words=_texts(card.get("instance_prompt")),
        pictures=tuple(dict(_pictures(card, files, f"{endpoint}/{repo_id}/resolve/")).items()),
    )


def is_safe(path: Any) -> bool:
    """Tell whether a file name from a hub is a plain relative path."""
    return (
        isinstance(path, str)
        and 0 < len(path) <= MAX_PATH
        and path.isprintable()
        and "\\" not in path
        and not any(part in ("", ".", "..") for part in path.split("/"))
    )


def clean(text: Any) -> str | None:
    """Return a hub's text on one line, without what cannot be printed; None where nothing is left."""
    if not isinstance(text, str):
        return None
    words = "".join(sign if sign.isprintable() else " " for sign in text[:MAX_TEXT]).split()
    return " ".join(words) or None


def _licence(card: Mapping[str, Any], tags: list[str]) -> str | None:
    named = clean(card.get("license")) or clean(_tagged(tags, "license:"))
    return clean(card.get("license_name")) or named if named == "other" else named


def _base_model(card: Mapping[str, Any], tags: list[str]) -> str | None:
    said = _list(card.get("base_model"))
    return clean(said[0]) if said else clean(_tagged(tags, "base_model:adapter:"))


def _tagged(tags: list[str], prefix: str) -> str | None:
    return next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), None)


def _texts(value: Any) -> tuple[str, ...]:
    texts = (clean(text) for text in _list(value)[:MAX_TRIGGER_WORDS])
    return tuple(dict.fromkeys(text for text in texts if text))


def _pictures(
    card: Mapping[str, Any], files: frozenset[str], prefix: str
) -> Iterator[tuple[str, str | None]]:
    """Yield path and prompt of the card's pictures; one outside the repository is not pinned: left out."""
    for entry in _list(card.get("widget")):
        output = entry.get("output") if isinstance(entry, Mapping) else None
        url = output.get("url") if isinstance(output, Mapping) else None
        if not isinstance(url, str):
            continue
        if url.startswith(prefix):
            url = url.removeprefix(prefix).partition("/")[2]
        path = url.removeprefix("./")
        path = path if path in files else unquote(path)
        if path in files and path.lower().endswith(PICTURES):
            yield path, clean(entry.get("text"))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
