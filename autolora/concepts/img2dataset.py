"""The files that img2dataset writes about a shard of images, in each of its output formats.

    format       images                  about them
    webdataset   00000.tar               00000.parquet, 00000_stats.json
    files        00000/000000000.jpg     00000.parquet, 00000_stats.json, 00000/000000000.json
    parquet      00000.parquet           00000_stats.json

The table 00000.parquet of the first two lists all downloads, also those that failed, and has no column of images.
Source: img2dataset/writer.py and logger.py.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from autolora.concepts.items import IMAGE_SUFFIXES
from autolora.concepts.parquet import has_images

STATISTICS = "_stats.json"


def without_metadata(files: Sequence[Path]) -> list[Path]:
    """Return the files of a corpus without those that describe images in others. Tables are opened, images are not."""
    images, tables = _stems(files, IMAGE_SUFFIXES), _stems(files, [".parquet"])
    described = _stems(files, [".tar"]) | {path.parent for path in files}

    def is_metadata(path: Path) -> bool:
        if path.suffix.lower() == ".parquet":
            return path.with_suffix("") in described and not has_images(path)
        if path.name.endswith(STATISTICS):
            return path.with_name(path.name.removesuffix(STATISTICS)) in described | tables
        return path.suffix.lower() == ".json" and path.with_suffix("") in images

    return [path for path in files if not is_metadata(path)]


def _stems(files: Iterable[Path], suffixes: Sequence[str]) -> set[Path]:
    """Return the paths without suffix of the files that have one of these suffixes."""
    return {path.with_suffix("") for path in files if path.suffix.lower() in suffixes}
