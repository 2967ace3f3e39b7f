"""The manifest of a published index: which index it is, the settings of its searches, and the hashes of its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.fusion.base_model import CONFIG_KEYS
from autolora.hubs.huggingface.repositories import check_files, is_inside
from autolora.hubs.validation import short_repr
from autolora.params import GenerationParams, HubsParams, Params, PoolParams, RetrievalParams
from autolora.params.reader import read_section, to_keys
from autolora.storage.hashes import HashFile
from autolora.storage.validation import SHA256

SCHEMA = 2
MANIFEST, CARD, SOURCES, PIPELINE = "published_index.json", "README.md", "sources.jsonl", "pipeline"
PATTERNS = (MANIFEST, CARD, SOURCES, f"{PIPELINE}/*", "cache/index/*", "data/fusion/*")
"""files of the folder"""
REMEDY = "download it again, or write it again with `autolora publish index FOLDER`"


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
class Manifest:
    """The content of published_index.json."""

    index: str
    """content digest"""
    settings: PoolSettings
    transformer: Mapping[str, int]
    """the numbers in the config of the base model's transformer that determine its slots"""
    files: Mapping[str, str]
    """path -> sha256 of each other file but the card"""

    def to_json(self) -> str:
        """Return the content of the file."""
        content = asdict(self) | {"schema": SCHEMA, "settings": to_keys(self.settings)}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"

    def check_files(self, folder: Path, hash_file: HashFile) -> None:
        """Raise MissingArtifact if a file in the folder of the manifest is missing or damaged."""
        check_files(folder, self.files, MANIFEST, REMEDY, hash_file)


def is_published(folder: Path) -> bool:
    """Return whether a folder holds a published index."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a published index.

    Raises MissingArtifact if it is missing or damaged, MismatchError if another version of AutoLoRA wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise MissingArtifact(
            f"{folder} contains no {MANIFEST}, so it does not hold a published index: {REMEDY}"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = content.pop("schema")
        files = {str(name): str(sha256) for name, sha256 in content["files"].items()}
        index = str(content["index"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MissingArtifact(
            f"{path} is not the manifest of a published index ({error}): {REMEDY}"
        ) from error
    if not SHA256.fullmatch(index):  # it becomes a part of paths
        raise MissingArtifact(f"{path} names index {short_repr(index)}, expected 64 hex digits: {REMEDY}")
    if outside := [name for name in files if not is_inside(name)]:
        raise MissingArtifact(f"{path} names files outside its folder ({outside[0]}): do not use it")
    try:
        if schema != SCHEMA:
            raise ParamsError(f"its layout is {schema}, expected {SCHEMA}")
        settings = read_section(PoolSettings, content["settings"])
        transformer = {key: int(content["transformer"][key]) for key in CONFIG_KEYS}
    except (ParamsError, KeyError, TypeError, ValueError) as error:
        raise MismatchError(
            f"{path} was written by another version of AutoLoRA ({error}): use that version, or publish the index again"
        ) from error
    return Manifest(index=index, settings=settings, transformer=transformer, files=files)
