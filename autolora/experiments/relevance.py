"""The relevance of a case's adapters to its prompt, as a selection computes it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder, caption_rule, embed_texts, fitted_relevance, predict
from autolora.experiments.cases import CandidateAdapter, PromptCase
from autolora.matching.hybrid import combine
from autolora.matching.selection import Candidates, relevances
from autolora.params import PoolParams
from autolora.storage.arrays import Float64Array


def relevance_scorer(
    root: Path,
    adapters: Mapping[str, CandidateAdapter],
    text_encoder: TextEncoder,
    bounds: PoolParams,
) -> Callable[[PromptCase], tuple[float, ...]]:
    """Return a function that computes the relevance of a case's adapters to its prompt, as a selection does.

    The index is not an input of this stage: the adapters' vectors are computed again, without the captions of
    renderings that the prompt quotes. Raises MismatchError if the encoder was imported, so that no relevance is fitted.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    read = encoder_store.reader(root, encoder.config, bounds)
    relevance, rule = fitted_relevance(encoder), caption_rule(encoder)

    @cache
    def weights_vector(sha256: str) -> Float64Array:
        updates = read(sha256)
        with torch.inference_mode():
            return predict(encoder, updates.values, updates.present)[0].double().numpy()

    def sum_captions(sha256: str, prompt: str) -> tuple[Float64Array, int]:
        kept = [texts for texts in adapters[sha256].captions_by_rendering if not _is_quoted(texts, prompt)]
        vectors = embed_texts(encoder, text_encoder, [text for texts in kept for text in texts])
        return vectors.sum(axis=0), len(kept)

    def score(case: PromptCase) -> tuple[float, ...]:
        vectors = np.stack([weights_vector(sha256) for sha256 in case.adapters])
        uses_captions = np.zeros(len(vectors), dtype=np.bool_)
        if rule is not None:
            sums, counts = zip(*(sum_captions(sha256, case.prompt) for sha256 in case.adapters), strict=True)
            vectors, uses_captions = combine(vectors, np.stack(sums), np.array(counts), rule)
        prompt = embed_texts(encoder, text_encoder, [case.prompt])[0]
        return tuple(relevances(prompt, Candidates.all_of(vectors, uses_captions), relevance).tolist())

    return score


def _is_quoted(captions: Sequence[str], prompt: str) -> bool:
    """Return whether a prompt contains one of the captions, with or without its final period."""
    return any(caption.strip().rstrip(".") in prompt for caption in captions)
