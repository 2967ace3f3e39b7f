"""Where the trained encoder lies; without torch, for readers that do not load it."""

from pathlib import Path


def folder(root: Path) -> Path:
    """Return the folder of the trained encoder."""
    return root / "data" / "encoder"
