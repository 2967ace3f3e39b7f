"""Writes and uploads a publication: all that others need to search the index of a project, or to use its encoder."""

import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autolora import models
from autolora.catalog.store import read_all_or_empty
from autolora.dataset import store as dataset
from autolora.encoder import store as encoders
from autolora.encoder.tags import load_tags
from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.hubs.huggingface.repositories import is_hub_id, upload
from autolora.index.copies import UNREAD, Index
from autolora.index.encoder_check import check_encoder
from autolora.index.served import copy_path, num_left_out, open_index
from autolora.lora.slots import TRANSFORMER_FIELDS
from autolora.matching.language import Language
from autolora.params import FolderParams, ModelsParams, Params
from autolora.pool import store as pool
from autolora.publication.card import CardFacts, Rows, write_card
from autolora.publication.encoder import TEXT_FOLDERS, TRANSFORMER, text_digest
from autolora.publication.manifest import (
    CARD,
    ENCODER_PARTS,
    INDEX_PARTS,
    MANIFEST,
    PIPELINE,
    SOURCES,
    Manifest,
    PoolSettings,
    PublishedIndex,
    TrainingSet,
    patterns,
    read_manifest,
)
from autolora.search.retriever import check_text_encoder
from autolora.storage.files import Row, write_atomic, write_rows
from autolora.storage.hashes import hash_files
from autolora.storage.incremental import read_digest
from autolora.text_encoder.clip import ClipConfig, load_numpy_text_encoder
from autolora.text_encoder.tokenizer import FILE as TOKENIZER
from autolora.text_encoder.tokenizer import convert_tokenizer

logger = logging.getLogger(__name__)
PLACEHOLDER = "OWNER/NAME"
"""what the card calls a repository whose id is not known"""
UNKNOWN = "unknown"
"""license of an adapter whose hub does not state one, or that has been withdrawn since"""


def write_publication(
    root: Path,
    params: Params,
    folder: Path,
    *,
    license: str | None = None,
    name: str = PLACEHOLDER,
    encoder_only: bool = False,
    metrics: Rows | None = None,
) -> Manifest:
    """Write the served index, and encoder and gates of the working tree, to a folder; after an error it is as before.

    An encoder that this project has not trained (`encoder.from`) is left out.
    folder: a new or empty one, or that of an earlier publication. license, name, metrics: as of `CardFacts`.
    encoder_only: leave index and gates out.
    Raises MismatchError if the folder contains anything else, index, encoder and text encoder do not belong together,
    or the index has adapters that were taken down; MissingArtifact if a part is missing, or the folder cannot be
    written.
    """
    _check_replaceable(folder)
    index = None if encoder_only else _open_index(root, params)
    has_encoder = params.encoder.from_ is None
    if encoder_only and not has_encoder:
        raise MismatchError(
            f"encoder.from is {params.encoder.from_}: this project has not trained the encoder that it uses; run this "
            "command in the project that has trained it"
        )
    if index and has_encoder:
        check_encoder(root, index)
    facts = CardFacts(
        name=name,
        license=license,
        # a path stays private
        pipeline=params.models.pipeline
        if params.models.pipeline_revision
        else Path(params.models.pipeline).name,
        base_model=params.models.pipeline if is_hub_id(params.models.pipeline) else None,
        metrics=metrics or {},
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".publishing-") as temporary:
            new = Path(temporary) / "new"
            _copy_pipeline(params.models, new / PIPELINE)
            training = _write_encoder(root, params, new) if has_encoder else None
            published, unoffered = _write_index(root, params, index, new) if index else (None, 0)
            manifest = Manifest(index=published, encoder=training, files=hash_files(new))
            write_atomic(new / CARD, write_card(facts, index, unoffered, training))
            write_atomic(new / MANIFEST, manifest.to_json())
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(new, folder)
    except OSError as error:
        raise MissingArtifact(f"{folder} cannot be written ({error}): give another folder") from error
    return manifest


def push_to_hub(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a publication to a Hugging Face repository, which is created if it does not exist; return the commit.

    Raises MissingArtifact if the folder is damaged, MismatchError if another version of AutoLoRA wrote it, HubError if
    the upload fails.
    """
    read_manifest(folder).check_files(folder)
    files = patterns(*INDEX_PARTS, *ENCODER_PARTS)
    return upload(folder, repo_id, files, private=private, message="Publish with AutoLoRA")


def _check_replaceable(folder: Path) -> None:
    """Raise MismatchError if a folder exists and contains anything but a publication."""
    if folder.exists() and not folder.is_dir():
        raise MismatchError(f"{folder} is not a folder: give a new or empty one")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if others := names - _files_of(folder):
        raise MismatchError(
            f"{folder} contains files that do not belong to a publication ({min(others)}): give a new or empty folder"
        )


def _files_of(folder: Path) -> set[str]:
    """Return the names of the files of the publication in a folder; none if it holds none of this version."""
    try:
        return {MANIFEST, CARD, *read_manifest(folder).files}
    except (MissingArtifact, MismatchError):
        return set()


def _open_index(root: Path, params: Params) -> Index:
    """Return the served index, which can be published."""
    index = open_index(root)
    if erased := num_left_out(root, index):
        raise MismatchError(
            f"index {index.digest[:12]} contains adapters that were taken down ({erased}), which would be published: "
            "refresh (`autolora refresh`), then publish the new index"
        )
    if not index.has_weights:
        raise MismatchError(f"an index is published for its vectors of weights: {UNREAD}")
    check_text_encoder(index, load_numpy_text_encoder(root, params.models, index.tokenizers))
    return index


def _copy_pipeline(params: ModelsParams, target: Path) -> None:
    """Copy what a search needs of the base pipeline into a folder."""
    for name in TEXT_FOLDERS:
        shutil.copytree(models.component(params, name), target / name)
    max_tokens = ClipConfig.read(target / "text_encoder").max_position_embeddings
    write_atomic(target / TOKENIZER, convert_tokenizer(target / "tokenizer", max_tokens))
    write_atomic(target / TRANSFORMER, json.dumps(models.transformer_config(params), indent=2) + "\n")


def _write_encoder(root: Path, params: Params, folder: Path) -> TrainingSet:
    """Write the encoder with its tags and language; return what it was trained on."""
    path = encoders.folder(root)
    encoder = encoders.load_encoder(path)
    if encoder.config.text_encoder != text_digest(*(folder / PIPELINE / name for name in TEXT_FOLDERS)):
        raise MismatchError(
            "the encoder was trained with a different text encoder than that of models.pipeline: set models.pipeline "
            "in params.yaml to the pipeline that it was trained with"
        )
    tags, language = load_tags(path), Language.load(path)
    encoders.save_encoder(encoders.folder(folder), encoder, tags, language, is_compact=True)
    return _read_training_set(root)


def _read_training_set(root: Path) -> TrainingSet:
    """Return the training set of the encoder, from the training lock; an empty one if the encoder was imported."""
    if not read_digest(root, "encoder").get("adapters"):
        return TrainingSet(adapters=0, families=0, train_until=None, licenses={})
    lock = dataset.training_lock(root)
    train = lock.in_split("train")
    licenses = {
        row["sha256"]: row["license"] for row in dataset.rows(root, "adapters", ("sha256", "license"))
    }
    counts = Counter(licenses.get(row.sha256) or UNKNOWN for row in train)
    return TrainingSet(
        adapters=len(train),
        families=len({row.family for row in train}),
        train_until=lock.train_until.isoformat() if lock.train_until else None,
        licenses=dict(sorted(counts.items())),
    )


def _write_index(root: Path, params: Params, index: Index, folder: Path) -> tuple[PublishedIndex, int]:
    """Write the index, gates and sources; return what the manifest states, and how many adapters no hub offers."""
    shutil.copytree(copy_path(root, index.digest), copy_path(folder, index.digest))
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
    config = models.transformer_config(params.models)
    transformer = {name: config[name] for name in TRANSFORMER_FIELDS}
    return PublishedIndex(digest=index.digest, settings=settings, transformer=transformer), unoffered


def _sources(root: Path, adapters: set[str]) -> Iterator[Row]:
    """Yield sha256, hub, URL and size of each active listing of these adapters; files of a folder are not offered."""
    sha256_of = {key: adapter.sha256 for key, adapter in pool.adapters(root).items()}
    for listing in read_all_or_empty(root):
        sha256 = sha256_of.get(listing.key)
        if listing.is_active and listing.hub != "folder" and sha256 in adapters:
            yield {"sha256": sha256, "hub": listing.hub, "url": listing.url, "size": listing.size}
