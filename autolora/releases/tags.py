"""The tags of releases, release/<day>[-n]: annotated tags of git, over all that a release consists of."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from autolora.storage.git import list_tags, read_revisions

PREFIX = "release/"
REFUSED = "refused/"
"""beginning of the branches of refused refreshes"""
INDEX = "digests/index.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseTag:
    """One release."""

    name: str
    commit: str
    """40 hex digits"""
    index: str
    """content digest of its index"""
    adapters: int


def release_tags(root: Path) -> list[ReleaseTag]:
    """Return the releases, the newest first; empty outside a git repository."""
    commits = list_tags(root, PREFIX)
    digests = read_revisions(root, [*commits.values()], INDEX)
    return [
        ReleaseTag(name=name, commit=commit, index=digest["content"], adapters=digest["rows"])
        for name, commit in commits.items()
        if commit in digests and "content" in (digest := json.loads(digests[commit]))
    ]


def free_name(prefix: str, day: date, taken: Collection[str]) -> str:
    """Return <prefix><day>, or the first of <prefix><day>-2, -3 … that is not taken."""
    name, number = f"{prefix}{day}", 1
    while name in taken:
        number += 1
        name = f"{prefix}{day}-{number}"
    return name
