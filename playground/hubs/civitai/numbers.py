"""Civitai calls everything by number: models, versions, files and images, each by a hash of its name here."""

import hashlib
from collections.abc import Iterable
from typing import TypeVar

from playground.hubs.repos import Repo

T = TypeVar("T")


class Numbers:
    """The numbers of all repositories, which stay the same whatever else the pool holds."""

    def __init__(self, repos: Iterable[Repo]) -> None:
        self.models: dict[int, Repo] = {}
        self.versions: dict[int, Repo] = {}
        self.files: dict[int, tuple[Repo, str]] = {}
        self.images: dict[int, tuple[Repo, str]] = {}
        self._known: dict[str, int] = {}
        for repo in sorted(repos, key=lambda repo: repo.id):
            self._number(self.models, repo, f"model {repo.id}")
            self._number(self.versions, repo, f"version {repo.id}")
            for path in repo.head.weights:
                self._number(self.files, (repo, path), f"file {repo.id} {path}")
            for path in repo.head.pictures:
                self._number(self.images, (repo, path), f"image {repo.id} {path}")

    def model(self, repo: Repo) -> int:
        """Return a repository's number as a model."""
        return self._known[f"model {repo.id}"]

    def version(self, repo: Repo) -> int:
        """Return the number of a repository's only version."""
        return self._known[f"version {repo.id}"]

    def file(self, repo: Repo, path: str) -> int:
        """Return the number of a file of weights."""
        return self._known[f"file {repo.id} {path}"]

    def image(self, repo: Repo, path: str) -> int:
        """Return the number of a picture."""
        return self._known[f"image {repo.id} {path}"]

    def _number(self, table: dict[int, T], value: T, name: str) -> None:
        """Give the name its number: 31 bits of a hash, and the next free one where that is taken."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1 or 1
        while number in table:
            number += 1
        table[number] = value
        self._known[name] = number
