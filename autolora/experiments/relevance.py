"""The relevance of a case's adapters to its prompt, as a selection computes it."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder, predict, project_texts
from autolora.errors import MismatchError
from autolora.experiments.cases import CandidateAdapter, PromptCase
from autolora.index.evidence import evidence_reader
from autolora.index.store import CAPTIONS_VECTOR, TEXTS_TRUST, TEXTS_VECTOR
from autolora.matching.evidence import Evidence, PartSearch, make_lanes, read_prompt
from autolora.matching.language import Language
from autolora.params import PoolParams
from autolora.storage.arrays import Float32Array
from autolora.text_encoder.sentences import SentenceEncoder


def relevance_scorer(
    root: Path,
    adapters: Mapping[str, CandidateAdapter],
    text_encoder: TextEncoder,
    sentences: SentenceEncoder | None,
    bounds: PoolParams,
) -> Callable[[PromptCase], tuple[float, ...]]:
    """Return a function that computes the relevance of a case's adapters to its prompt, as a selection does.

    The index is not an input of this stage: the adapters' evidence is computed again, without the captions of
    renderings that the prompt quotes, and without texts. sentences: the sentence encoder of the language. Raises
    MismatchError if the encoder has no language, so that no relevance is known.
    """
    folder = encoder_store.folder(root)
    encoder, language = encoder_store.load_encoder(folder), Language.load(folder)
    if language is None or sentences is None:
        raise MismatchError(
            "the encoder has no language, by which relevance is known: set encoder.language in params.yaml to a "
            "sentence encoder, and train (`dvc repro encoder`)"
        )
    read = encoder_store.reader(root, encoder.config, bounds)
    reader = evidence_reader(encoder, text_encoder, language, sentences)

    @cache
    def weights_of(sha256: str) -> Float32Array:
        updates = read(sha256)
        with torch.inference_mode():
            vector: Float32Array = predict(encoder, updates.values, updates.present)[0].float().numpy()
        return vector

    def evidence_of(case: PromptCase) -> Evidence:
        rows = [
            reader.read(weights_of(sha256), _not_quoted(adapters[sha256], case.prompt))
            for sha256 in case.adapters
        ]
        captions, texts = (np.stack([row[name] for row in rows]) for name in (CAPTIONS_VECTOR, TEXTS_VECTOR))
        trust = np.array([row[TEXTS_TRUST] for row in rows], np.float32)
        return Evidence(
            np.stack([weights_of(sha256) for sha256 in case.adapters]), captions, texts, texts, trust, None
        )

    def project(texts: Sequence[str]) -> Float32Array:
        return project_texts(encoder, text_encoder, texts).astype(np.float32)

    def score(case: PromptCase) -> tuple[float, ...]:
        reading = read_prompt(case.prompt, language, sentences.encode, project)
        lanes = make_lanes(reading, evidence_of(case), language)
        matches = PartSearch(lanes, np.ones(len(case.adapters), np.bool_)).pursue()
        relevance = {match.position: match.relevance for match in matches}
        return tuple(relevance.get(position, 0.0) for position in range(len(case.adapters)))

    return score


def _not_quoted(adapter: CandidateAdapter, prompt: str) -> list[tuple[str, ...]]:
    """Return the captions of each rendering of which a prompt contains none, with or without its final period."""
    return [
        texts
        for texts in adapter.captions_by_rendering
        if not any(caption.strip().rstrip(".") in prompt for caption in texts)
    ]
