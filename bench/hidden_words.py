"""The adapters among which a selection is measured: those of the served index, or of one whose captions lack words."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from autolora import models
from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.examples import TrainExample, load_examples
from autolora.encoder.model import caption_rule, embed_texts, fitted_relevance, predict
from autolora.encoder.training import build, fit
from autolora.matching.hybrid import combine
from autolora.matching.relevance import Relevance
from autolora.matching.words import split_words
from autolora.metrics.judgments import Judgment
from autolora.params import Params
from autolora.search.retriever import Retriever
from autolora.storage.arrays import BoolArray, Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The adapters of an index, their themes, and the function that embeds prompts for it."""

    vectors: Float64Array
    uses_captions: BoolArray
    relevance: Relevance
    themes: tuple[str, ...]
    """of each adapter; an adapter without judgment is a theme of its own"""
    embed: Callable[[str], Float64Array]

    def without(self, themes: Collection[str]) -> "Pool":
        """Return the adapters of all other themes."""
        kept = np.array([theme not in themes for theme in self.themes], dtype=np.bool_)
        return replace(
            self,
            vectors=self.vectors[kept],
            uses_captions=self.uses_captions[kept],
            themes=tuple(theme for theme in self.themes if theme not in themes),
        )


def served_pool(retriever: Retriever, judgments: dict[str, Judgment]) -> Pool:
    """Return the adapters of the served index."""
    index = retriever.index
    assert index.relevance is not None
    return Pool(
        index.vectors.astype(np.float64),
        index.uses_captions,
        index.relevance,
        _themes([row["sha256"] for row in index.rows], judgments),
        lambda prompt: retriever.embed(prompt).astype(np.float64),
    )


def hide_words(root: Path, params: Params, hidden: Collection[str], judgments: dict[str, Judgment]) -> Pool:
    """Return the adapters as an encoder and an index without the captions that contain one of the words have them."""
    text_encoder = models.load_text_encoder(params.models)
    encoder = build(root, params.encoder, models.transformer_config(params.models), text_encoder)
    read = encoder_store.reader(root, encoder.config, params.pool)
    for _ in fit(encoder, _hidden_examples(root, hidden), read, text_encoder, params.encoder):
        pass
    rows = dataset.rows(root, "adapters", ("sha256", "renderings"))
    captions, adapters = dataset.captions_by_image(root), [row["sha256"] for row in rows]
    with torch.inference_mode():
        weights = [predict(encoder, batch.values, batch.present)[0].double() for batch in map(read, adapters)]
    kept = [
        _kept([[caption.text for caption in captions.get(image, ())] for image in row["renderings"]], hidden)
        for row in rows
    ]
    sums = [embed_texts(encoder, text_encoder, sum(texts, ())).sum(axis=0) for texts in kept]
    rule = caption_rule(encoder)
    assert rule is not None, "the preset's index holds no captions"
    vectors, uses_captions = combine(
        torch.stack(weights).numpy(), np.stack(sums), np.array([len(texts) for texts in kept]), rule
    )
    return Pool(
        vectors,
        uses_captions,
        fitted_relevance(encoder),
        _themes(adapters, judgments),
        lambda prompt: embed_texts(encoder, text_encoder, [prompt])[0],
    )


def _hidden_examples(root: Path, hidden: Collection[str]) -> list[TrainExample]:
    examples = [
        replace(example, renderings=_kept(example.renderings, hidden)) for example in load_examples(root)
    ]
    return [example for example in examples if example.renderings]


def _kept(renderings: Collection[Collection[str]], hidden: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return the captions without the hidden words, by rendering; renderings without any are left out."""
    texts = (
        tuple(text for text in captions if not set(hidden) & set(split_words(text)))
        for captions in renderings
    )
    return tuple(captions for captions in texts if captions)


def _themes(adapters: list[str], judgments: dict[str, Judgment]) -> tuple[str, ...]:
    return tuple(judgments[sha256].theme if sha256 in judgments else sha256 for sha256 in adapters)
