"""Takedowns in the current process, and what is erased after that of civitai:7."""

from pathlib import Path

import pytest

from autolora.catalog.store import file_of
from flows import dvc_objects, proof, takedown
from tests.support import takedown_repo as repo
from tests.support.takedown_repo import BATCH, CAT, DOG, INK, OTHER, OWN, SHARED

FULL = len(repo.content(INK))
ERASED = {INK: 0, OWN: 0, **dict.fromkeys((CAT, DOG, OTHER, SHARED), FULL)}
CHANGED = (
    "data/takedowns.jsonl",
    file_of("civitai", "7"),
    f"data/pool/batches/{BATCH}.dvc",
    "dvc.lock",
    file_of("huggingface", "ann/ink"),
)


def enter(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (takedown, dvc_objects, proof):
        monkeypatch.setattr(module, "ROOT", root)
    return root


def take_down(*names: str) -> None:
    takedown.take_down(names, "asked", is_applied=True)


def empty_objects(folder: Path) -> set[str]:
    """Return the names of the empty objects of a cache or remote, that of an empty file left out."""
    paths = {path for path in folder.rglob("*") if path.is_file() and not path.stat().st_size}
    return {path.parent.name + path.name for path in paths} - {dvc_objects.EMPTY_MD5}


def objects(root: Path) -> dict[str, set[str]]:
    """Return the md5 of the erased objects in the cache and in the remote."""
    return {
        "cache": empty_objects(root / ".dvc/cache/files"),
        "store": empty_objects(root.parent / "store/files"),
    }
