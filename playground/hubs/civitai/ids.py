"""Civitai's integer ids of models, versions, files and images: each is a hash of its name."""

import hashlib
import uuid
from collections.abc import Iterable
from typing import TypeVar

from playground.hubs.repos import Repo

T = TypeVar("T")


class CivitaiIds:
    """The ids of all repositories; they do not depend on the rest of the pool, except in a hash collision."""

    def __init__(self, repos: Iterable[Repo]) -> None:
        self.models: dict[int, Repo] = {}
        self.versions: dict[int, Repo] = {}
        self.files: dict[int, tuple[Repo, str]] = {}
        self.images: dict[int, tuple[Repo, str]] = {}
        self.image_uuids: dict[str, tuple[Repo, str]] = {}
        self._ids: dict[str, int] = {}
        for repo in sorted(repos, key=lambda repo: repo.id):
            self._assign(self.models, repo, f"model {repo.id}")
            self._assign(self.versions, repo, f"version {repo.id}")
            for path in repo.head.weights:
                self._assign(self.files, (repo, path), f"file {repo.id} {path}")
            for path in repo.head.images:
                self._assign(self.images, (repo, path), f"image {repo.id} {path}")
                self.image_uuids[self.image_uuid(repo, path)] = repo, path

    def model(self, repo: Repo) -> int:
        """Return the id of a repository's model."""
        return self._ids[f"model {repo.id}"]

    def version(self, repo: Repo) -> int:
        """Return the id of a repository's only version."""
        return self._ids[f"version {repo.id}"]

    def file(self, repo: Repo, path: str) -> int:
        """Return the id of a weight file."""
        return self._ids[f"file {repo.id} {path}"]

    def image(self, repo: Repo, path: str) -> int:
        """Return the id of an image."""
        return self._ids[f"image {repo.id} {path}"]

    def image_uuid(self, repo: Repo, path: str) -> str:
        """Return the UUID that names an image's file."""
        return str(
            uuid.UUID(bytes=hashlib.sha256(f"image {repo.id} {path}".encode()).digest()[16:], version=4)
        )

    def user(self, repo: Repo) -> int:
        """Return the id of the user who published a repository."""
        return int.from_bytes(hashlib.sha256(f"user {repo.author}".encode()).digest()[:3], "big") or 1

    def _assign(self, table: dict[int, T], value: T, name: str) -> None:
        """Assign an id to a name: 31 bits of its hash, or the next free number if that is taken."""
        id = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1 or 1
        while id in table:
            id += 1
        table[id] = value
        self._ids[name] = id
