"""The playground's pool as Hugging Face repositories: files, commits, cards, and what a hub tells of them."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

LFS_SUFFIXES = (".safetensors", ".png")
LISTED = ("_id", "id", "modelId", "createdAt", "downloads", "likes", "private", "tags", "pipeline_tag")
FULL = (*LISTED, "library_name", "author", "sha", "lastModified", "gated", "disabled", "siblings")
FRONT_MATTER = re.compile(r"\A---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Blob:
    """One file of a commit."""

    size: int
    sha256: str
    oid: str
    """git's object id: of the file, or of its LFS pointer"""
    pointer_size: int | None
    """bytes of the LFS pointer; None for a file that lies in git itself"""
    source: Path | bytes

    @property
    def etag(self) -> str:
        """What the download route calls this content."""
        return self.oid if self.pointer_size is None else self.sha256

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop)."""
        if isinstance(self.source, bytes):
            return self.source[start:stop]
        with self.source.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)


@dataclass(frozen=True, slots=True)
class Commit:
    """One version of a repository, named by the digest of its contents."""

    sha: str
    date: str
    blobs: Mapping[str, Blob]
    card: Mapping[str, Any]


@dataclass(slots=True)
class Repo:
    """One repository: what the schedule says about it, and its commits, oldest first."""

    id: str
    day: int
    created_at: str
    downloads: int
    commits: list[Commit] = field(default_factory=list)

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    def commit(self, revision: str) -> Commit | None:
        """Return the commit that a revision names: `main` or 40 hex digits."""
        if revision == "main":
            return self.head
        return next((commit for commit in self.commits if commit.sha == revision), None)

    def relicense(self, licence: str, date: str) -> None:
        """Add a commit in which the README's front matter names another licence."""
        blob = self.head.blobs["README.md"]
        text = blob.read(0, blob.size).decode()
        match = FRONT_MATTER.match(text)
        lines = [line for line in (match[1] if match else "").splitlines() if not line.startswith("license:")]
        body = text[match.end() :] if match else text
        readme = "\n".join(["---", f"license: {licence}", *lines, "---", body])
        blobs = {**self.head.blobs, "README.md": describe("README.md", readme.encode())}
        self.commits.append(make_commit(blobs, date))


def open_pool(pool: Path) -> dict[str, Repo]:
    """Read the repositories that `pool/schedule.jsonl` names, each with one commit."""
    lines = (pool / "schedule.jsonl").read_text().splitlines()
    repos = {}
    for row in map(json.loads, filter(str.strip, lines)):
        created_at = full_date(row["created_at"])
        repo = Repo(row["repo"], int(row["day"]), created_at, int(row["downloads"]))
        folder = pool / repo.id
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        blobs = {path.relative_to(folder).as_posix(): describe(path.name, path) for path in files}
        repo.commits.append(make_commit(blobs, created_at))
        repos[repo.id] = repo
    return repos


def full_date(text: str) -> str:
    """Return a date or time in the only form the client reads: `2026-01-02T03:04:05.000Z`."""
    day, _, time = text.partition("T")
    return f"{day}T{(time or '00:00:00').removesuffix('Z').partition('.')[0]}.000Z"


def describe(name: str, source: Path | bytes) -> Blob:
    """Hash one file the way git and git-lfs do."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if not name.endswith(LFS_SUFFIXES):
        return Blob(len(content), sha256, _git_oid(content), None, source)
    version = "version https://git-lfs.github.com/spec/v1"
    pointer = f"{version}\noid sha256:{sha256}\nsize {len(content)}\n".encode()
    return Blob(len(content), sha256, _git_oid(pointer), len(pointer), source)


def make_commit(blobs: Mapping[str, Blob], date: str) -> Commit:
    """Name a set of files by its contents and read its card."""
    listing = json.dumps([[path, blob.sha256] for path, blob in sorted(blobs.items())])
    readme = blobs.get("README.md")
    card = read_card(readme.read(0, readme.size).decode(errors="replace")) if readme else {}
    return Commit(hashlib.sha1(listing.encode()).hexdigest(), date, blobs, card)


def read_card(readme: str) -> dict[str, Any]:
    """Return a README's front matter; nothing where it has none that is a mapping."""
    match = FRONT_MATTER.match(readme)
    try:
        card = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return json.loads(json.dumps(card, default=str)) if isinstance(card, dict) else {}


def tags(card: Mapping[str, Any]) -> list[str]:
    """Return the tags that the hub derives from a card."""
    own = [str(tag) for tag in _list(card.get("tags"))]
    adapter = "lora" in own or card.get("base_model_relation") == "adapter"
    found = [str(card[key]) for key in ("library_name", "pipeline_tag") if card.get(key)] + own
    for base in _list(card.get("base_model")):
        found += [f"base_model:{base}", f"base_model:{'adapter' if adapter else 'finetune'}:{base}"]
    if card.get("license"):
        found.append(f"license:{card['license']}")
    return list(dict.fromkeys([*found, "region:us"]))


def facts(repo: Repo, commit: Commit, *, blobs: bool = False) -> dict[str, Any]:
    """Return everything the hub can tell about a repository at a commit."""
    card = commit.card
    return {
        "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.id.partition("/")[0],
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
        "baseModels": _list(card.get("base_model")),
        "config": {},
        "spaces": [],
        "usedStorage": sum(blob.size for blob in commit.blobs.values()),
        "siblings": [_sibling(path, blob, blobs) for path, blob in sorted(commit.blobs.items())],
    }


def tree(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]] | None:
    """Return the entries below a folder ('' is the root); None where there is no such folder."""
    prefix = f"{folder}/" if folder else ""
    inside = {path: blob for path, blob in commit.blobs.items() if path.startswith(prefix)}
    if not inside and folder:
        return None
    folders = {
        prefix + "/".join(parts[:depth])
        for parts in (path[len(prefix) :].split("/") for path in inside)
        for depth in range(1, len(parts))
    }
    entries = [_folder(path) for path in folders] + [_entry(path, blob) for path, blob in inside.items()]
    shown = (entry for entry in entries if recursive or "/" not in entry["path"][len(prefix) :])
    return sorted(shown, key=lambda entry: entry["path"])


def paths_info(commit: Commit, paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the tree entries of the named files that exist."""
    for path in paths:
        if path in commit.blobs:
            yield _entry(path, commit.blobs[path])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(path: str, blob: Blob, detailed: bool) -> dict[str, Any]:
    if not detailed:
        return {"rfilename": path}
    sibling = {"rfilename": path, "size": blob.size, "blobId": blob.oid}
    if blob.pointer_size is not None:
        sibling["lfs"] = {"sha256": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return sibling


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    entry = {"type": "file", "path": path, "size": blob.size, "oid": blob.oid}
    if blob.pointer_size is not None:
        entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": blob.pointer_size}
    return entry


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
