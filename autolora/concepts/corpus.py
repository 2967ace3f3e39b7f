"""A corpus of captioned images: a folder, WebDataset tar files, parquet shards, or a folder of these.

    corpus: ~/images                   # images with .txt or metadata.jsonl, and shards, at any depth
    corpus: ~/data/train-*.parquet     # or one file

A corpus may be large and of unknown origin. Items are listed without reading them, a fixed sample of them is read,
and what is damaged, too large or without a caption is skipped and counted.
"""

import glob
import heapq
import os
from collections.abc import Iterator
from pathlib import Path

from autolora.concepts.image_folder import METADATA, list_images
from autolora.concepts.img2dataset import without_metadata
from autolora.concepts.items import IMAGE_SUFFIXES, OTHER, CorpusItem, Skipped, source_name
from autolora.concepts.parquet import list_rows
from autolora.concepts.webdataset import list_members
from autolora.errors import ParamsError
from autolora.storage.hashes import hash_value

LISTERS = {".tar": list_members, ".parquet": list_rows}
"""suffix of a shard -> its items"""


def sample_items(corpus: Path, count: int, seed: int, skipped: Skipped) -> list[CorpusItem]:
    """Return at most `count` items of a corpus, chosen by the hash of their source and in the order of the corpus.

    So the choice depends neither on the place of the corpus nor on the order of its files, and an item that is added
    replaces one at most. skipped: receives items without a caption, damaged shards, and other files.
    Raises ParamsError if there is nothing to choose from.
    """
    numbered = enumerate(_list_items(corpus, skipped))
    chosen = heapq.nsmallest(count, numbered, key=lambda pair: hash_value([seed, pair[1].source]))
    if not chosen:
        raise ParamsError(
            f"concepts.corpus is {corpus}, which has no captioned image ({skipped}): expected images with "
            ".txt files or metadata.jsonl, .tar files of WebDataset, or .parquet files"
        )
    return [item for _, item in sorted(chosen, key=lambda pair: pair[0])]


def _list_items(corpus: Path, skipped: Skipped) -> Iterator[CorpusItem]:
    root, found = _find_files(corpus)
    files = without_metadata(found)
    yield from list_images(root, files, skipped)
    images = {path.with_suffix("") for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    for path in files:
        name, suffix = source_name(os.path.relpath(path, root)), path.suffix.lower()
        if lister := LISTERS.get(suffix):
            yield from lister(path, name, skipped)
        elif suffix == ".txt" and path.with_suffix("") not in images:
            skipped.add(OTHER, name, "no image has its name")
        elif suffix not in (*IMAGE_SUFFIXES, ".txt") and path.name != METADATA:
            forms = ", ".join((*IMAGE_SUFFIXES, *LISTERS))
            skipped.add(OTHER, name, f"it is neither an image or a shard ({forms}) nor a caption")


def _find_files(corpus: Path) -> tuple[Path, list[Path]]:
    """Return the folder to which sources are relative, and all regular files, sorted; links to files are followed.

    Raises ParamsError if nothing is there.
    """
    if corpus.is_dir():
        root, found = corpus, [Path(folder, name) for folder, _, names in os.walk(corpus) for name in names]
    else:
        root, found = corpus.parent, [Path(name) for name in glob.glob(str(corpus))]
        if not found:
            raise ParamsError(
                f"concepts.corpus is {corpus}, which does not exist: give a folder, a file or a pattern"
            )
    return root, sorted(path for path in found if path.is_file())
