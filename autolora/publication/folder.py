"""Writes a published index: all that a search, and adapters in a pipeline, need without the project.

published_index.json   the manifest, written last
README.md              the card
cache/index/<digest>/  a copy of the index
pipeline/              text encoder and tokenizer of the base pipeline
data/fusion/           the trained gates, if there are any
sources.jsonl          URLs of each adapter's weights on hubs, with sha256

The weights themselves stay on their hubs, under their licenses.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autolora.catalog.store import read_all_or_empty
from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.base_model import CONFIG_KEYS
from autolora.hubs.huggingface.repositories import upload
from autolora.index.copies import UNREAD, Index
from autolora.index.served import copy_path, num_left_out, open_index
from autolora.models import component, transformer_config
from autolora.params import FolderParams, Params
from autolora.pool import store as pool
from autolora.publication.card import write_card
from autolora.publication.manifest import (
    CARD,
    MANIFEST,
    PATTERNS,
    PIPELINE,
    SOURCES,
    Manifest,
    PoolSettings,
    read_manifest,
)
from autolora.search.retriever import check_text_encoder
from autolora.storage.files import Row, write_atomic, write_rows
from autolora.storage.hashes import hash_file, hash_files
from autolora.text_encoder.clip import load_numpy_text_encoder

logger = logging.getLogger(__name__)
PARTS = ("text_encoder", "tokenizer")
"""of the base pipeline, which a search needs"""
PLACEHOLDER = "OWNER/NAME"
"""what the card calls a repository whose id is not known"""


def write_published_index(root: Path, params: Params, folder: Path, repo_id: str = PLACEHOLDER) -> Manifest:
    """Write the served index, with the gates of the working tree, to a folder; after an error it is as before.

    folder: a new or empty one, or that of an index that was published before. repo_id: what its card says to open.
    Raises MismatchError if the folder contains anything else, the text encoder is not that of the index, or the index
    has adapters that were taken down; MissingArtifact if the index is not at hand or the folder cannot be written.
    """
    _check_replaceable(folder)
    index = open_index(root)
    if erased := num_left_out(root, index):
        raise MismatchError(
            f"index {index.digest[:12]} contains adapters that were taken down ({erased}), which would be published: "
            "refresh (`autolora refresh`), then publish the new index"
        )
    if not index.has_weights:
        raise MismatchError(f"an index is published for its vectors of weights: {UNREAD}")
    check_text_encoder(index, load_numpy_text_encoder(root, params.models, index.tokenizers))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".publishing-") as temporary:
            new = Path(temporary) / "new"
            manifest = _write(root, params, index, new, repo_id)
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(new, folder)
    except OSError as error:
        raise MissingArtifact(f"{folder} cannot be written ({error}): give another folder") from error
    return manifest


def push_to_hub(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a published index to a Hugging Face repository, which is created if it does not exist; return the commit.

    Raises MissingArtifact if the folder is damaged, MismatchError if another version of AutoLoRA wrote it, HubError if
    the upload fails.
    """
    read_manifest(folder).check_files(folder, hash_file)
    return upload(folder, repo_id, PATTERNS, private=private, message="Publish the index")


def _check_replaceable(folder: Path) -> None:
    """Raise MismatchError if a folder exists and contains anything but a published index."""
    if folder.exists() and not folder.is_dir():
        raise MismatchError(f"{folder} is not a folder: give a new or empty one")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if others := names - _files_of_index(folder):
        raise MismatchError(
            f"{folder} contains files that do not belong to a published index ({min(others)}): give a new or "
            "empty folder"
        )


def _files_of_index(folder: Path) -> set[str]:
    """Return the names of the files of the published index in a folder; none if it holds none of this version."""
    try:
        return {MANIFEST, CARD, *read_manifest(folder).files}
    except (MissingArtifact, MismatchError):
        return set()


def _write(
    root: Path,
    params: Params,
    index: Index,
    folder: Path,
    repo_id: str,
) -> Manifest:
    shutil.copytree(copy_path(root, index.digest), copy_path(folder, index.digest))
    for part in PARTS:
        shutil.copytree(component(params.models, part), folder / PIPELINE / part)
    settings = PoolSettings.of(params)
    settings = replace(settings, hubs=replace(settings.hubs, folder=FolderParams(path=None)))
    if any(fusion.folder(root).glob("*")):
        shutil.copytree(fusion.folder(root), fusion.folder(folder))
    else:
        settings = replace(settings, generation=replace(settings.generation, method="direct"))
    sources = list(_sources(root, set(index.rows.columns.column("sha256").to_pylist())))
    write_rows(folder / SOURCES, sources)
    unoffered = len(index.rows) - len({row["sha256"] for row in sources})
    if unoffered:
        logger.warning(
            "no hub offers the weights of %d of %d adapters: others find them, but cannot fuse them",
            unoffered,
            len(index.rows),
        )
    config = transformer_config(params.models)
    transformer = {key: config[key] for key in CONFIG_KEYS}
    manifest = Manifest(
        index=index.digest, settings=settings, transformer=transformer, files=hash_files(folder)
    )
    pipeline = params.models.pipeline
    pipeline = pipeline if params.models.pipeline_revision else Path(pipeline).name  # a path stays private
    write_atomic(folder / CARD, write_card(index, pipeline, repo_id, unoffered))
    write_atomic(folder / MANIFEST, manifest.to_json())
    return manifest


def _sources(root: Path, adapters: set[str]) -> Iterator[Row]:
    """Yield sha256, hub, URL and size of each active listing of these adapters; files of a folder are not offered."""
    sha256_of = {key: adapter.sha256 for key, adapter in pool.adapters(root).items()}
    for listing in read_all_or_empty(root):
        sha256 = sha256_of.get(listing.key)
        if listing.is_active and listing.hub != "folder" and sha256 in adapters:
            yield {"sha256": sha256, "hub": listing.hub, "url": listing.url, "size": listing.size}
