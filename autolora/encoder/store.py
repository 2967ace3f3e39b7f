"""The trained encoder on disk, and what reads an adapter of the pool in the form that an encoder needs."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from autolora.encoder.inputs import Updates
from autolora.encoder.model import Encoder, EncoderConfig
from autolora.errors import MismatchError, MissingArtifact
from autolora.lora.sketch import SketchSpec
from autolora.params import PoolParams
from autolora.pool import store as pool
from autolora.pool.weights import load_lora
from autolora.storage.files import write_atomic

logger = logging.getLogger(__name__)


def reader(root: Path, config: EncoderConfig, bounds: PoolParams) -> Callable[[str], Updates]:
    """Return what reads an adapter of the pool as this encoder needs it: its sketch, or its weights.

    bounds: on weights. Raises, when it reads, MismatchError where a sketch is of another kind than the encoder
    has learned from, MissingArtifact where weights are missing or damaged.
    """

    def read_sketch(sha256: str) -> Updates:
        sketch = pool.load_sketch(root, sha256)
        assert config.sketch is not None
        expected = (len(config.canonical), config.sketch, config.sketch)
        if sketch.values.shape != expected or SketchSpec(config.sketch).key != config.spec:
            raise MismatchError(
                f"the sketch of {sha256} is {tuple(sketch.values.shape)} but the encoder has learned from "
                f"{expected} ({config.spec}): run `dvc repro encoder`, or move dataset.train_until in "
                "params.yaml to train anew"
            )
        return config.read_sketch(sketch)

    def read_weights(sha256: str) -> Updates:
        return config.read_lora(load_lora(root, sha256, config.canonical, bounds))

    return read_sketch if config.probe == "sketch" else read_weights


def folder(root: Path) -> Path:
    """Return where the encoder lies."""
    return root / "data" / "encoder"


def save_encoder(place: Path, encoder: Encoder) -> None:
    """Save weights and, beside them, the config they are rebuilt from."""
    write_atomic(place / "model.safetensors", save(tensors(encoder)))
    write_atomic(place / "config.json", json.dumps(encoder.config.to_json(), indent=2, sort_keys=True) + "\n")


def load_encoder(place: Path) -> Encoder:
    """Rebuild a saved encoder, ready to embed.

    Raises MissingArtifact when it is not there, MismatchError when weights and config do not belong together.
    """
    try:
        config = EncoderConfig.from_json(json.loads((place / "config.json").read_text()))
        weights = load_file(place / "model.safetensors")
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise MissingArtifact(f"{place} holds no encoder ({error}): run `dvc repro encoder`") from error
    encoder = Encoder(config)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise MismatchError(
            f"weights and config in {place} differ: {error}; run `dvc repro encoder`"
        ) from error
    return encoder.eval().requires_grad_(False)


def tensors(encoder: Encoder) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in encoder.state_dict().items()}
