"""config.json of a pretrained model: what it is rebuilt from, what it was trained on, and the hashes of its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

from autolora.errors import MismatchError, MissingArtifact
from autolora.hubs.huggingface.repositories import is_inside
from autolora.storage.hashes import hash_value

SCHEMA = 1
CONFIG, WEIGHTS, CARD, PIPELINE = "config.json", "model.safetensors", "README.md", "pipeline"
TAGS = "tags.safetensors"
"""file of the tags of an encoder, which not all have"""
LANGUAGE = "language.safetensors"
"""file of the language of an encoder, which not all have"""
PATTERNS = (CONFIG, WEIGHTS, TAGS, LANGUAGE, CARD, f"{PIPELINE}/*")
"""files of the folder"""
Kind = Literal["encoder", "gates"]
NAMES: Mapping[str, str] = {"encoder": "a pretrained encoder", "gates": "pretrained gates"}
"""kind -> what error messages call a model of it"""
DType = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSet:
    """The adapters that a model was trained on."""

    adapters: int
    families: int
    train_until: str | None
    """last day on which they were first seen; None if the model was imported"""
    licenses: dict[str, int]
    """license -> number of adapters"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainedConfig:
    """The content of config.json."""

    kind: Kind
    model: dict[str, Any]
    """what the model is rebuilt from"""
    training: TrainingSet
    dtype: DType
    """precision of the stored weights"""
    rank: int | None
    """rank of the factors in which the largest weights are stored; None: they are stored whole"""
    weights_error: float
    """largest ‖stored - trained‖ / ‖trained‖ of a tensor"""
    files: dict[str, str]
    """name -> sha256 of the other files, but not of the card"""

    @property
    def has_pipeline(self) -> bool:
        """Return whether the folder contains parts of the base pipeline."""
        return any(name.startswith(f"{PIPELINE}/") for name in self.files)

    @property
    def digest(self) -> str:
        """The sha256 over model and weights, which identifies the pretrained model."""
        return hash_value([self.model, self.files[WEIGHTS]])

    def to_json(self) -> str:
        """Return the content of config.json."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the config of a JSON value; raises TypeError or ValueError if it is not one."""
        _check_fields(content, cls, "")
        _check_fields(content["training"], TrainingSet, "training.")
        config = cls(**{**content, "training": TrainingSet(**content["training"])})
        if not isinstance(config.model, dict):
            raise TypeError("'model' must be an object")
        if config.kind not in NAMES:
            raise ValueError(f"'kind' is {config.kind!r}")
        if not isinstance(config.files, dict) or not all(
            isinstance(sha256, str) for sha256 in config.files.values()
        ):
            raise TypeError("'files' must map names to sha256")
        if WEIGHTS not in config.files or not all(map(_is_known, config.files)):
            raise ValueError(
                f"'files' must name {WEIGHTS}, may name {TAGS} and {LANGUAGE}, and otherwise files in {PIPELINE}/"
            )
        return config


def read_config(folder: Path, kind: Kind) -> PretrainedConfig:
    """Return the config of a folder.

    Raises MissingArtifact if it is missing or damaged, MismatchError if it is of another kind or layout.
    """
    path, name = folder / CONFIG, NAMES[kind]
    remedy = (
        f"write it with `autolora publish {kind} FOLDER` in the project that trained it, or download it again"
    )
    if not path.is_file():
        raise MissingArtifact(f"{folder} contains no {CONFIG}, so it does not hold {name}: {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "schema" not in content:
            raise ValueError("it has no field 'schema'")
        schema = content.pop("schema")
        config = PretrainedConfig.from_json(content) if schema == SCHEMA else None
    except (OSError, ValueError, TypeError) as error:
        raise MissingArtifact(f"{path} is not the config of {name} ({error}): {remedy}") from error
    if config is None:
        raise MismatchError(
            f"{path} has layout {schema}, but this version of AutoLoRA reads layout {SCHEMA}: install the version that "
            f"wrote it, or {remedy}"
        )
    if config.kind != kind:
        raise MismatchError(f"{folder} holds {NAMES[config.kind]}, expected {name}: {remedy}")
    return config


def _check_fields(content: object, kind: type, prefix: str) -> None:
    """Raise ValueError if a JSON value is not an object with the fields of a dataclass. prefix: of their names."""
    if not isinstance(content, dict):
        raise ValueError(f"'{prefix.rstrip('.')}' must be an object")
    names = {field.name for field in fields(kind)}
    if wrong := sorted(names ^ content.keys()):
        raise ValueError(f"'{prefix}{wrong[0]}' is {'missing' if wrong[0] in names else 'unknown'}")


def _is_known(name: str) -> bool:
    return name in (WEIGHTS, TAGS, LANGUAGE) or (name.startswith(f"{PIPELINE}/") and is_inside(name))
