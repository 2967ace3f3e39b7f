"""The encoder of a publication: load it from a folder or from Hugging Face, and use it in another project.

from autolora.publication.encoder import load_published

published = load_published("owner/name", revision="0123...")
published.check_fits(transformer_config, text_encoder.digest, sketch_size)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.encoder import store
from autolora.encoder.model import Encoder, TextEncoder
from autolora.encoder.tags import TAGS, TagTable, load_tags
from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.hubs.huggingface.repositories import download, is_hub_id
from autolora.lora.sketch import SketchSpec
from autolora.matching.language import FILE as LANGUAGE
from autolora.matching.language import Language
from autolora.params import EncoderParams, PoolParams
from autolora.publication.manifest import (
    ENCODER,
    ENCODER_PARTS,
    MANIFEST,
    PIPELINE,
    REMEDY,
    TrainingSet,
    patterns,
    read_manifest,
)
from autolora.storage.hashes import hash_folder, hash_value
from autolora.text_encoder.tokenizer import FILE as TOKENIZER

TEXT_FOLDERS = ("text_encoder", "tokenizer")
"""folders of the base pipeline that a search needs"""
TRANSFORMER = "transformer/config.json"


@dataclass(frozen=True, slots=True, eq=False)
class PublishedEncoder:
    """An encoder that was trained elsewhere."""

    encoder: Encoder
    """frozen, in evaluation mode, in float32"""
    folder: Path
    training: TrainingSet
    files: Mapping[str, str]
    """path -> sha256"""

    @property
    def digest(self) -> str:
        """The sha256 over config and weights, which identifies the encoder."""
        return hash_value([self.files[f"{ENCODER}/{name}"] for name in (store.CONFIG, store.WEIGHTS)])

    @property
    def pipeline(self) -> Path:
        """The folder with text encoder, tokenizer and transformer config, a value of models.pipeline for searches."""
        return self.folder / PIPELINE

    @property
    def tokenizers(self) -> Mapping[str, Path]:
        """Digest of the text encoder -> its tokenizer.json."""
        return {self.encoder.config.text_encoder: self.pipeline / TOKENIZER}

    @property
    def tags(self) -> TagTable | None:
        """The tags; None if it was published without. Raises MissingArtifact if they are damaged."""
        return load_tags(self.folder / ENCODER) if f"{ENCODER}/{TAGS}" in self.files else None

    @property
    def language(self) -> Language | None:
        """The language; None if it was published without. Raises MissingArtifact if it is damaged."""
        return Language.load(self.folder / ENCODER) if f"{ENCODER}/{LANGUAGE}" in self.files else None

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


def load_published(source: str | Path, revision: str | None = None) -> PublishedEncoder:
    """Return the encoder of a publication in a folder, or on Hugging Face (owner/name).

    revision: a commit, branch or tag of an id; None is its current version.
    Raises MissingArtifact if there is none or it is damaged, MismatchError if another version of AutoLoRA wrote it or
    it contradicts itself, HubError if it cannot be downloaded.
    """
    folder = _locate(source, revision)
    manifest = read_manifest(folder)
    required = [f"{ENCODER}/{store.CONFIG}", f"{ENCODER}/{store.WEIGHTS}", f"{PIPELINE}/{TOKENIZER}"]
    if manifest.encoder is None or not manifest.files.keys() >= set(required):
        raise MissingArtifact(
            f"{folder} is a publication without an encoder, because its project uses that of another one: name the "
            "other one"
        )
    manifest.check_files(folder, ENCODER_PARTS)
    encoder = store.load_encoder(folder / ENCODER, REMEDY)
    published = PublishedEncoder(encoder, folder, manifest.encoder, manifest.files)
    if text_digest(*(published.pipeline / name for name in TEXT_FOLDERS)) != encoder.config.text_encoder:
        raise MismatchError(
            f"the encoder in {folder} was trained with a different text encoder than the one in {published.pipeline}: "
            "copy or download the folder again"
        )
    return published


def use_published(
    root: Path,
    params: EncoderParams,
    transformer: Mapping[str, Any],
    text_encoder: TextEncoder,
    bounds: PoolParams,
) -> str:
    """Save the published encoder that the params name as data/encoder, write its digest, and return where it lies.

    Needs no training examples. transformer: config of the base model's FluxTransformer2DModel. bounds: with the size of
    the pool's sketches.
    Raises ParamsError if an id has no revision, MismatchError if the encoder does not fit the models or the pool, and
    as `load_published`.
    """
    source, revision = params.from_, params.from_revision
    assert source is not None, "encoder.from is null"
    if is_hub_id(source) and revision is None:
        raise ParamsError(
            f"encoder.from is {source}, a Hugging Face id without a revision: set encoder.from_revision in params.yaml "
            "to a commit of it"
        )
    published = load_published(source, revision)
    published.check_fits(transformer, text_encoder.digest, bounds.sketch_size)
    encoder, language = published.encoder, published.language
    store.save_encoder(store.folder(root), encoder, published.tags, language)
    origin, adapters = {"published": published.digest}, published.training.adapters
    store.write_encoder_digest(root, encoder, origin, language, adapters=adapters, texts=0)
    return str(published.folder)


def text_digest(text_encoder: Path, tokenizer: Path) -> str:
    """Return the digest of a text encoder, as `models.ClipTextEncoder.digest`."""
    return hash_value([hash_folder(text_encoder), hash_folder(tokenizer)])


def _locate(source: str | Path, revision: str | None) -> Path:
    """Return the folder of a publication; that of a Hugging Face id is downloaded, unless it is in the cache."""
    if is_hub_id(source):
        return download(str(source), revision, patterns(*ENCODER_PARTS))
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise MissingArtifact(
            f"{source} is neither an existing folder nor a Hugging Face id (owner/name): give the folder that "
            f"`autolora publish FOLDER` writes, which contains {MANIFEST}, or an id"
        )
    return folder


def _listed(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())
