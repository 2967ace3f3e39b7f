"""The trained encoder on disk, and the reader that gives it an adapter of the pool."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from autolora.encoder.compact import to_compact, to_whole
from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.model import Encoder, new_encoder
from autolora.encoder.paths import folder as folder
from autolora.encoder.tags import TagTable, save_tags
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import SketchSpec
from autolora.matching.language import FILE as LANGUAGE
from autolora.matching.language import Language
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import write_digest

SCHEMA = 2
CONFIG, WEIGHTS = "config.json", "model.safetensors"

logger = logging.getLogger(__name__)


def reader(root: Path, config: EncoderConfig, bounds: PoolParams) -> Callable[[str], AdapterBatch]:
    """Return a function from an adapter's sha256 to its sketch or weights, whichever this encoder reads.

    bounds: limits on a file of weights. The function raises MismatchError if a sketch differs in kind from those
    that the encoder was trained with, and MissingArtifact if weights are missing or damaged.
    """

    def read_sketch(sha256: str) -> AdapterBatch:
        sketch = pool.load_sketch(root, sha256)
        size = config.sketch_size
        assert size is not None
        expected = (len(config.canonical), size, size)
        if sketch.values.shape != expected or SketchSpec(size).key != config.sketch_key:
            raise MismatchError(
                f"the sketch of {sha256} has shape {tuple(sketch.values.shape)} but the encoder was trained with "
                f"{expected} ({config.sketch_key}): run `dvc repro encoder`, or move dataset.train_until in "
                "params.yaml to train again"
            )
        return config.sketch_to_batch(sketch)

    def read_weights(sha256: str) -> AdapterBatch:
        return config.lora_to_batch(load_lora(root, sha256, config.canonical, bounds, check_hash=False))

    return read_sketch if config.variant.probe == "sketch" else read_weights


def save_encoder(
    path: Path,
    encoder: Encoder,
    tags: TagTable | None = None,
    language: Language | None = None,
    *,
    is_compact: bool = False,
) -> None:
    """Write weights, tags and language if there are some, and config into a folder, each file atomically.

    is_compact: store the weights in half precision (`to_compact`). Raises MismatchError if they are too large for it.
    """
    save_tags(path, tags)
    if language is None:
        (path / LANGUAGE).unlink(missing_ok=True)
    else:
        language.save(path)
    write_atomic(path / WEIGHTS, save(to_compact(encoder) if is_compact else _tensors(encoder)))
    write_atomic(path / CONFIG, json.dumps(encoder.config.to_json(), indent=2, sort_keys=True) + "\n")


def load_encoder(path: Path, remedy: str = "run `dvc repro encoder`") -> Encoder:
    """Return the encoder saved in a folder, in float32, frozen and in evaluation mode.

    remedy: what to do if it cannot be read. Raises MissingArtifact if there is none or it is damaged, MismatchError if
    weights and config do not fit.
    """
    try:
        config = EncoderConfig.from_json(json.loads((path / CONFIG).read_text()))
        weights = load_file(path / WEIGHTS)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise MissingArtifact(f"{path} holds no valid encoder ({error}): {remedy}") from error
    try:
        with torch.device("meta"):  # copies of the file's tensors become those of the encoder
            encoder = new_encoder(config)
        state = {name: tensor.clone() for name, tensor in to_whole(weights).items()}
        encoder.load_state_dict(state, assign=True)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise MismatchError(
            f"the weights in {path} do not fit the config.json beside them ({error}): {remedy}"
        ) from error
    return encoder.eval().requires_grad_(False)


def write_encoder_digest(
    root: Path,
    encoder: Encoder,
    trained_from: Mapping[str, str],
    language: Language | None = None,
    **counts: int,
) -> str:
    """Write `digests/encoder.json` and return its sha256, which covers the config and what it was trained from.

    trained_from: name -> hash of each input of the training. The weights differ in their last bits between processors,
    so their hash is a field of its own, `weights`.
    """
    config = hash_value(encoder.config.to_json())
    tensors = {
        name: hashlib.sha256(save({name: value})).hexdigest() for name, value in _tensors(encoder).items()
    }
    learned = [config, sorted(tensors.items()), *([language.digest] if language else [])]
    weights = hash_value(learned)
    return write_digest(
        root, "encoder", {**trained_from, "config": config}, SCHEMA, weights=weights, **counts
    )


def write_language(root: Path, language: Language) -> str:
    """Write a language without an encoder into data/encoder, and digests/encoder.json; return its sha256."""
    path = folder(root)
    save_tags(path, None)
    for name in (WEIGHTS, CONFIG):
        (path / name).unlink(missing_ok=True)
    language.save(path)
    return write_digest(root, "encoder", {"language": language.digest}, SCHEMA, weights=language.digest)


def _tensors(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
