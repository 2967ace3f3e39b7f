"""Hashes of values, files and folders: sha256 as 64 hex digits."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HashFile = Callable[[Path], str]


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces, so that equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_value(value: Any) -> str:
    """Return the sha256 (64 hex digits) of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hash of a file's bytes as hex digits; threads hash in parallel."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def hash_folder(folder: Path, hash_one: HashFile = hash_file) -> str:
    """Return one sha256 over the relative names and bytes of all files below `folder`. hash_one: as `hash_files`."""
    return hash_value([[name, sha256] for name, sha256 in hash_files(folder, hash_one).items()])


def hash_files(folder: Path, hash_one: HashFile = hash_file) -> dict[str, str]:
    """Return relative name -> sha256 of all files below `folder`, in the order of their paths.

    hash_one: returns the sha256 of a file.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hash_one(path) for path in files}
