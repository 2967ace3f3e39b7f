"""Versions of an index."""

from pathlib import Path

from autolora.index.store import content_digest
from tests.support.synthetic_repo import SyntheticAdapter, write_dataset, write_index, write_repository


def reindex(root: Path, adapters: list[SyntheticAdapter]) -> str:
    """Index exactly these adapters and return the digest."""
    write_repository(root, adapters)
    write_dataset(root)
    write_index(root)
    return content_digest(root)


def tags_folder(root: Path) -> Path:
    """Return the folder of the names of the working index's versions."""
    return root / "data/index/adapters.lance/_refs/tags"
