"""The one incremental mechanism: what is pending, what is gone, and the digest of what is there."""

import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autolora.errors import MissingArtifact
from autolora.storage.files import hash_value, remove_leftovers, write_atomic

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pending(Generic[Key]):
    """What a stage has to do: keys to add (in the order wanted) and keys to remove."""

    add: tuple[Key, ...]
    remove: tuple[Key, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def pending(wanted: Iterable[Key], done: Collection[Key]) -> Pending[Key]:
    """Return what separates `done` from `wanted`; keys carry everything that must invalidate a row."""
    order = tuple(dict.fromkeys(wanted))
    have = set(done)
    want = set(order)
    return Pending(
        add=tuple(key for key in order if key not in have),
        remove=tuple(key for key in dict.fromkeys(done) if key not in want),
    )


def digest_path(root: Path, stage: str) -> Path:
    """Return where a stage's digest lies."""
    return root / "digests" / f"{stage}.json"


def digest_of(rows: Mapping[str, str], schema: int) -> str:
    """Return the sha256 over the sorted (key, row hash) pairs."""
    return hash_value([schema, sorted(rows.items())])


def write_digest(root: Path, stage: str, rows: Mapping[str, str], schema: int, **facts: Any) -> str:
    """Write `digests/<stage>.json` as the last act of a stage and return its sha256.

    rows: key -> row hash, each hash taken when its row was written.
    schema: version of the row layout. facts: further JSON values a reviewer wants to see.
    """
    sha256 = digest_of(rows, schema)
    content = {"rows": len(rows), "schema": schema, "sha256": sha256, **facts}
    path = digest_path(root, stage)
    remove_leftovers(path)
    write_atomic(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return sha256


def read_digest(root: Path, stage: str) -> dict[str, Any]:
    """Read `digests/<stage>.json`.

    Raises MissingArtifact when the stage has not run yet.
    """
    path = digest_path(root, stage)
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: the stage '{stage}' has not run; run `dvc repro {stage}`"
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content
