"""A synthetic repository whose index combines weights and captions."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autolora.encoder import store as encoder_store
from autolora.models import ClipTextEncoder
from autolora.text_encoder.sentences import SentenceEncoder
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    encoder_params,
    write_dataset,
    write_encoder,
    write_index,
    write_repository,
)


def write_hybrid(
    root: Path,
    text_encoder: ClipTextEncoder,
    adapters: Sequence[SyntheticAdapter],
    sentences: SentenceEncoder | None = None,
) -> dict[str, int]:
    """Write repository, dataset and index, and return the index's counts; train only if there is no encoder yet.

    sentences: that of the language, if there is to be one.
    """
    write_repository(root, adapters)
    write_dataset(root)
    if not encoder_store.folder(root).exists():
        write_encoder(root, text_encoder, encoder_params(), sentences)
    return write_index(root, text_encoder=text_encoder, sentences=sentences)


def with_captions_of(adapter: SyntheticAdapter, other: SyntheticAdapter, images: int = 2) -> SyntheticAdapter:
    """Return an adapter whose first images have the texts of another adapter's captions."""
    wrong = {rendering.sha256 for rendering in adapter.listing.renderings[:images]}
    captions = [
        replace(own, text=theirs.text) if own.image in wrong else own
        for own, theirs in zip(adapter.captions, other.captions, strict=True)
    ]
    return replace(adapter, captions=tuple(captions))
