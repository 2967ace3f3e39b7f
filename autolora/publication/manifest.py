"""The manifest of a publication: what its index and its encoder are, and the hashes of its files.

A publication is a folder, or a repository on Hugging Face with the same files:

publication.json       the manifest, written last
README.md              the card
pipeline/              text encoder, tokenizer and transformer config of the base pipeline
cache/index/<digest>/  a copy of the index
sources.jsonl          URLs of each adapter's weights on hubs, with sha256
data/fusion/           the trained gates, if there are any
data/encoder/          the encoder, unless the project uses that of another publication

The weights of the adapters stay on their hubs, under their licenses.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.hubs.huggingface.repositories import check_files, is_inside
from autolora.hubs.validation import short_repr
from autolora.lora.slots import TRANSFORMER_FIELDS
from autolora.params import GenerationParams, HubsParams, Params, PoolParams, RetrievalParams
from autolora.params.reader import read_section, to_keys
from autolora.storage.hashes import HashFile, hash_file
from autolora.storage.validation import SHA256

SCHEMA = 3
MANIFEST, CARD, SOURCES, PIPELINE, ENCODER = (
    "publication.json", "README.md", "sources.jsonl", "pipeline", "data/encoder",
)  # fmt: skip
INDEX_PARTS = (f"{PIPELINE}/", "cache/index/", SOURCES, "data/fusion/")
"""beginnings of the names of the files that `autolora.open` reads"""
ENCODER_PARTS = (f"{PIPELINE}/", f"{ENCODER}/")
"""those of the files that `encoder.from` reads"""
REMEDY = "download it again (if it is in a cache, delete it there), or write it again with `autolora publish FOLDER`"


def patterns(*parts: str) -> tuple[str, ...]:
    """Return the patterns of the manifest, the card, and the files whose names begin with one of these parts."""
    return (MANIFEST, CARD, *(f"{part}*" for part in parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSettings:
    """The sections of params.yaml that a collection needs."""

    retrieval: RetrievalParams
    generation: GenerationParams
    pool: PoolParams
    hubs: HubsParams

    @classmethod
    def of(cls, params: Params) -> Self:
        """Return the settings of a project."""
        return cls(
            retrieval=params.retrieval, generation=params.generation, pool=params.pool, hubs=params.hubs
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedIndex:
    """What the manifest states about the index."""

    digest: str
    """content digest"""
    settings: PoolSettings
    transformer: Mapping[str, int]
    """the TRANSFORMER_FIELDS of the base model"""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """The adapters that the encoder was trained on."""

    adapters: int
    families: int
    train_until: str | None
    """last day on which they were first seen; None if the encoder was imported"""
    licenses: Mapping[str, int]
    """license -> number of adapters"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The content of publication.json."""

    index: PublishedIndex | None
    """None if the encoder is published alone"""
    encoder: TrainingSet | None
    """what the encoder was trained on; None if the publication has none"""
    files: Mapping[str, str]
    """path -> sha256 of each other file but the card"""

    def to_json(self) -> str:
        """Return the content of the file."""
        content: dict[str, Any] = asdict(self) | {"schema": SCHEMA}
        if self.index:
            content["index"]["settings"] = to_keys(self.index.settings)
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def check_files(
        self, folder: Path, parts: tuple[str, ...] = ("",), hash_one: HashFile = hash_file
    ) -> None:
        """Raise MissingArtifact if a file whose name begins with one of these parts is missing or damaged."""
        files = {name: sha256 for name, sha256 in self.files.items() if name.startswith(parts)}
        check_files(folder, files, MANIFEST, REMEDY, hash_one)


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a publication."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a publication.

    Raises MissingArtifact if it is missing or damaged, MismatchError if another version of AutoLoRA wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingArtifact(f"{folder} contains no {MANIFEST}, so it is not a publication: {REMEDY}")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema, index, encoder = content["schema"], content["index"], content["encoder"]
        files = {str(name): str(sha256) for name, sha256 in content["files"].items()}
        digest = str(index["digest"]) if index else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MissingArtifact(f"{path} is not the manifest of a publication ({error!r}): {REMEDY}") from error
    if digest is not None and not SHA256.fullmatch(digest):  # it becomes a part of paths
        raise MissingArtifact(f"{path} names index {short_repr(digest)}, expected 64 hex digits: {REMEDY}")
    if outside := [name for name in files if not is_inside(name)]:
        raise MissingArtifact(f"{path} names files outside its folder ({outside[0]}): do not use it")
    try:
        if schema != SCHEMA:
            raise ParamsError(f"its layout is {schema}, expected {SCHEMA}")
        return Manifest(
            index=_read_index(digest, index) if digest else None,
            encoder=TrainingSet(**encoder) if encoder else None,
            files=files,
        )
    except (ParamsError, KeyError, TypeError, ValueError) as error:
        raise MismatchError(
            f"{path} was written by another version of AutoLoRA ({error}): use that version, or publish it again"
        ) from error


def _read_index(digest: str, content: Mapping[str, Any]) -> PublishedIndex:
    transformer = {name: int(content["transformer"][name]) for name in TRANSFORMER_FIELDS}
    settings = read_section(PoolSettings, content["settings"])
    return PublishedIndex(digest=digest, settings=settings, transformer=transformer)
