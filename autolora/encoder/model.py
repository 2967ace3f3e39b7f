"""The two kinds of encoder behind one interface, and the text encoder that they are trained with."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autolora.encoder.config import EncoderConfig
from autolora.encoder.inputs import Stacks
from autolora.encoder.ridge import RidgeEncoder
from autolora.encoder.transformer import TransformerEncoder
from autolora.errors import MismatchError
from autolora.matching.caption_rule import CaptionRule
from autolora.storage.arrays import Float32Array

Encoder = TransformerEncoder | RidgeEncoder
"""both have `config`, `text_map`, and `embed(values, present)`, which returns the unit vectors (B, d) of adapters"""


class TextEncoder(Protocol):
    """The frozen text encoder, as training and retrieval use it."""

    @property
    def width(self) -> int:
        """The width of its features."""

    @property
    def digest(self) -> str:
        """The sha256 of its files."""

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return features (N, width), not normalized."""


def new_encoder(config: EncoderConfig) -> Encoder:
    """Return an untrained encoder of the variant's model."""
    return RidgeEncoder(config) if config.variant.model == "ridge" else TransformerEncoder(config)


def caption_rule(encoder: Encoder) -> CaptionRule | None:
    """Return the rule by which captions are compared with weights; None if the encoder takes no captions."""
    if not isinstance(encoder, RidgeEncoder) or not encoder.config.variant.hybrid:
        return None
    return CaptionRule(encoder.mean_target.double().cpu().numpy(), float(encoder.agreement_margin))


def predict(encoder: Encoder, values: Tensor | Stacks, present: Tensor) -> Tensor:
    """Return the vectors of weights (B, d) that the index stores: unit vectors, or the regression's predictions if the
    encoder takes captions. values, present: of an `AdapterBatch`.
    """
    if isinstance(encoder, RidgeEncoder) and encoder.config.variant.hybrid:
        return encoder.predict(values, present)
    return encoder.embed(values, present)


def embed_texts(encoder: Encoder, text_encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the unit vectors (N, d) that retrieval compares with adapters; equal texts are encoded once.

    Raises MismatchError if the encoder was trained with a different text encoder.
    """
    check_text_encoder(encoder, text_encoder.digest)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    features = torch.from_numpy(text_encoder.encode(list(rows))).to(encoder.text_map.center.device)
    vectors: NDArray[np.float64] = encoder.text_map(features).double().cpu().numpy()
    return vectors[np.array([rows[text] for text in texts], dtype=np.int64)]


def project_texts(encoder: Encoder, text_encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the vectors (N, d) of texts before they are made unit vectors (`embed_texts`)."""
    features = torch.from_numpy(text_encoder.encode(texts)).to(encoder.text_map.center.device)
    vectors: NDArray[np.float64] = encoder.text_map.project(features).double().cpu().numpy()
    return vectors


def check_text_encoder(encoder: Encoder, digest: str) -> None:
    """Raise MismatchError if the encoder was trained with another text encoder than that with this digest."""
    if encoder.config.text_encoder != digest:
        raise MismatchError(
            f"the encoder was trained with a different text encoder (digest {encoder.config.text_encoder[:12]}, "
            f"but models.pipeline has {digest[:12]}): run `dvc repro encoder`"
        )
