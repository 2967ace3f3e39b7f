"""Incremental work of the stages: pending keys, obsolete keys, and the digest over a stage's rows."""

import json
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from autolora.errors import MissingArtifact
from autolora.storage.files import remove_leftovers, write_atomic
from autolora.storage.hashes import hash_value

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Pending(Generic[Key]):
    """The work of a stage: keys to add, in the order wanted, and keys to remove."""

    add: tuple[Key, ...]
    remove: tuple[Key, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.remove)


def pending(wanted: Iterable[Key], done: Collection[Key]) -> Pending[Key]:
    """Return the difference between `wanted` and `done`; a key includes all that must invalidate its row."""
    wanted_order = tuple(dict.fromkeys(wanted))
    wanted_set, done_set = set(wanted_order), set(done)
    return Pending(
        add=tuple(key for key in wanted_order if key not in done_set),
        remove=tuple(key for key in dict.fromkeys(done) if key not in wanted_set),
    )


def digest_path(root: Path, stage: str) -> Path:
    """Return the path of a stage's digest."""
    return root / "digests" / f"{stage}.json"


def digest_of(rows: Mapping[str, str], schema: int) -> str:
    """Return the sha256 over the sorted (key, row hash) pairs."""
    return hash_value([schema, sorted(rows.items())])


def write_digest(root: Path, stage: str, rows: Mapping[str, str], schema: int, **facts: Any) -> str:
    """Write `digests/<stage>.json` as the last act of a stage and return its sha256.

    rows: key -> row hash, each computed when its row was written.
    schema: version of the row layout. facts: further JSON values for reviewers; not part of the sha256.
    """
    sha256 = digest_of(rows, schema)
    content = {"rows": len(rows), "schema": schema, "sha256": sha256, **facts}
    path = digest_path(root, stage)
    remove_leftovers(path)
    write_atomic(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return sha256


def read_digest(root: Path, stage: str) -> dict[str, Any]:
    """Read `digests/<stage>.json`.

    Raises MissingArtifact if the stage has not run yet.
    """
    path = digest_path(root, stage)
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: the stage '{stage}' has not run; run `dvc repro {stage}`"
        )
    content: dict[str, Any] = json.loads(path.read_text())
    return content
