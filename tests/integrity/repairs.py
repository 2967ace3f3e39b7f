"""Files that tests of repairs damage, and where their repairs find them."""

from pathlib import Path

from autolora.integrity.repair import Repair

WEIGHTS, IMAGES = "data/pool/batches/*/weights/*", "data/pool/batches/*/renderings/*"
PACK = "data/pool/sketches/*.safetensors"
REMOTE = "DVC's remote store"


def sources(repairs: list[Repair]) -> dict[str, str | None]:
    """Return path -> source."""
    return {repair.finding.path: repair.source for repair in repairs}


def unlinked(path: Path) -> Path:
    """Make a file of the working tree another file on disk than its object in the cache."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path
