"""Pretrained encoders: load one from a folder or Hugging Face, write a trained one as a folder.

    from autolora.encoder.pretrained import load_pretrained
    pretrained = load_pretrained("owner/name", revision="0123...")
    pretrained.check_fits(transformer_config, text_encoder.digest, sketch_size)

`autolora.pretrained.folder.push_to_hub` uploads such a folder.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autolora import models
from autolora.encoder.compact import RIGHT, from_tensors, to_tensors, weights_error
from autolora.encoder.config import EncoderConfig
from autolora.encoder.model import Encoder, new_encoder
from autolora.encoder.tags import TagTable, load_tags, save_tags
from autolora.errors import MismatchError
from autolora.lora.sketch import SketchSpec
from autolora.matching.language import FILE as LANGUAGE
from autolora.matching.language import Language
from autolora.params import ModelsParams
from autolora.pretrained.card import CardFacts
from autolora.pretrained.config import PIPELINE, TAGS, DType, PretrainedConfig, TrainingSet
from autolora.pretrained.folder import claim_folder, read_folder, write_folder
from autolora.pretrained.source import locate
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_file, hash_files, hash_folder, hash_value
from autolora.text_encoder.clip import ClipConfig
from autolora.text_encoder.tokenizer import FILE as TOKENIZER
from autolora.text_encoder.tokenizer import convert_tokenizer

TEXT_FOLDERS = ("text_encoder", "tokenizer")
"""folders of the base pipeline that a search needs"""
TRANSFORMER = "transformer/config.json"


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedEncoder:
    """An encoder that was trained elsewhere."""

    encoder: Encoder
    """frozen, in evaluation mode, in float32"""
    folder: Path
    config: PretrainedConfig

    @property
    def pipeline(self) -> Path | None:
        """The folder with text encoder, tokenizer and transformer config, a value of models.pipeline for searches; None
        if the encoder comes without them."""
        return self.folder / PIPELINE if self.config.has_pipeline else None

    @property
    def tokenizers(self) -> Mapping[str, Path]:
        """Digest of the text encoder -> its tokenizer.json; empty if the encoder comes without one."""
        path = f"{PIPELINE}/{TOKENIZER}"
        return {self.encoder.config.text_encoder: self.folder / path} if path in self.config.files else {}

    @property
    def tags(self) -> TagTable | None:
        """The tags; None if it was published without. Raises MissingArtifact if they are damaged."""
        return load_tags(self.folder) if TAGS in self.config.files else None

    @property
    def language(self) -> Language | None:
        """The language; None if it was published without. Raises MissingArtifact if it is damaged."""
        return Language.load(self.folder) if LANGUAGE in self.config.files else None

    def check_fits(self, transformer: Mapping[str, Any], text_encoder: str, sketch_size: int) -> None:
        """Raise MismatchError if the encoder was trained for another base model, text encoder, or kind of sketch.

        transformer: config of the base model's FluxTransformer2DModel. text_encoder: digest of its text encoder.
        sketch_size: pool.sketch_size.
        """
        config, name = self.encoder.config, self.folder
        base = {field: transformer.get(field) for field in config.transformer}
        if config.transformer != base:
            raise MismatchError(
                f"the encoder in {name} was trained for another base model ({_listed(config.transformer)}), but "
                f"models.pipeline has {_listed(base)}: set models.pipeline in params.yaml to the base model that the "
                "encoder was trained for, or use an encoder for this one"
            )
        if config.sketch_size is not None:
            own = SketchSpec(sketch_size).key
            if config.sketch_key != own:
                raise MismatchError(
                    f"the encoder in {name} reads sketches of the kind {config.sketch_key}, but the pool has {own}: "
                    f"set pool.sketch_size in params.yaml to {config.sketch_size}; if it is, the encoder is of another "
                    "version of AutoLoRA: use one of this version"
                )
        if config.text_encoder != text_encoder:
            raise MismatchError(
                f"the encoder in {name} was trained with a different text encoder (digest {config.text_encoder[:12]}, "
                f"but models.pipeline has {text_encoder[:12]}): set models.pipeline in params.yaml to the pipeline "
                "that the encoder was trained with"
            )


def load_pretrained(source: str | Path, revision: str | None = None) -> PretrainedEncoder:
    """Return a pretrained encoder from a folder or a Hugging Face id (owner/name).

    revision: a commit, branch or tag of an id; None is its current version.
    Raises MissingArtifact if there is none or it is damaged, MismatchError if it is of another layout or contradicts
    itself, HubError if it cannot be downloaded.
    """
    folder = locate(source, revision, "encoder")
    config, tensors = read_folder(folder, "encoder")
    try:
        with torch.device("meta"):  # the tensors of the file become those of the encoder
            encoder = new_encoder(EncoderConfig.from_json(config.model))
        encoder.load_state_dict(from_tensors(tensors), assign=True)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise MismatchError(
            f"the weights in {folder} do not fit the config.json beside them ({error}): copy or download both again, "
            "or install the version of AutoLoRA that wrote them"
        ) from error
    pretrained = PretrainedEncoder(encoder.eval().requires_grad_(False), folder, config)
    _check_pipeline(pretrained)
    return pretrained


def save_pretrained(
    folder: Path,
    encoder: Encoder,
    training: TrainingSet,
    facts: CardFacts,
    *,
    tags: TagTable | None = None,
    language: Language | None = None,
    dtype: DType = "float32",
    rank: int | None = None,
    pipeline: ModelsParams | None = None,
) -> PretrainedConfig:
    """Write an encoder as a folder that `load_pretrained` reads, and return its config.

    dtype, rank: of the stored weights, as in `to_tensors`. pipeline: the base pipeline, whose text encoder, tokenizer
    and transformer config are copied into the folder; None leaves them out.
    Raises MismatchError if precision or rank do not fit the encoder, or the pipeline has another text encoder.
    """
    stored = to_tensors(encoder, dtype, rank)
    if pipeline is not None:
        _check_text_encoder(pipeline, encoder)
    claim_folder(folder, "encoder")
    save_tags(folder, tags)
    files = _copy_pipeline(pipeline, folder / PIPELINE) if pipeline else {}
    (folder / LANGUAGE).unlink(missing_ok=True)
    if language is not None:
        language.save(folder)
    for name in (TAGS, LANGUAGE):
        if (folder / name).exists():
            files[name] = hash_file(folder / name)
    config = PretrainedConfig(
        kind="encoder",
        model=encoder.config.to_json(),
        training=training,
        dtype=dtype,
        rank=len(stored[RIGHT]) if RIGHT in stored else None,
        weights_error=weights_error(encoder, stored),
        files=files,
    )
    return write_folder(folder, config, facts, stored)


def _copy_pipeline(params: ModelsParams, target: Path) -> dict[str, str]:
    """Copy what a search needs of the base pipeline into a folder; return name -> sha256 of the copies."""
    for name in TEXT_FOLDERS:
        shutil.copytree(models.component(params, name), target / name)
    max_tokens = ClipConfig.read(target / "text_encoder").max_position_embeddings
    write_atomic(target / TOKENIZER, convert_tokenizer(target / "tokenizer", max_tokens))
    write_atomic(target / TRANSFORMER, json.dumps(models.transformer_config(params), indent=2) + "\n")
    return {f"{PIPELINE}/{name}": sha256 for name, sha256 in hash_files(target).items()}


def _check_text_encoder(params: ModelsParams, encoder: Encoder) -> None:
    """Raise MismatchError if the base pipeline has another text encoder than that which an encoder was trained with."""
    own = _text_digest(*(models.component(params, name) for name in TEXT_FOLDERS))
    if own != encoder.config.text_encoder:
        raise MismatchError(
            "the encoder was trained with a different text encoder than that of models.pipeline: set models.pipeline "
            "in params.yaml to the pipeline that it was trained with"
        )


def _check_pipeline(pretrained: PretrainedEncoder) -> None:
    """Raise MismatchError if the pipeline beside an encoder has another text encoder."""
    folder, expected = pretrained.pipeline, pretrained.encoder.config.text_encoder
    if folder is not None and _text_digest(*(folder / name for name in TEXT_FOLDERS)) != expected:
        raise MismatchError(
            f"the encoder in {pretrained.folder} was trained with a different text encoder than the one in {folder}: "
            "copy or download the folder again"
        )


def _text_digest(text_encoder: Path, tokenizer: Path) -> str:
    """Return the digest of a text encoder, as `models.ClipTextEncoder.digest`."""
    return hash_value([hash_folder(text_encoder), hash_folder(tokenizer)])


def _listed(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())
