"""What an adapter is found by beside its weights: its captions, which these check, and the texts about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from autolora.encoder.model import Encoder, TextEncoder, caption_rule, embed_texts
from autolora.index.store import (
    CAPTION,
    CAPTIONS_VECTOR,
    CHECKS,
    TEXTS_TRUST,
    TEXTS_VECTOR,
    WHOLE_TEXTS_VECTOR,
)
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.language import Language, TextTrust
from autolora.pool.drawings import NUM_ALONE
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.files import Row

CERTAIN = 30.0
"""log-odds of trust in texts that can be compared with nothing, as no encoder has read the weights"""


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceReader:
    """Computes the columns of an index that follow from captions and texts."""

    rule: CaptionRule | None
    """None if the encoder takes no captions, or there is none"""
    embed: Callable[[Sequence[str]], Float64Array]
    """from texts to unit vectors (N, d) in the space of the weights"""
    language: Language | None
    sentences: TextEncoder | None
    """None if there is no language"""

    def read(
        self,
        weights: Float32Array | None,
        groups: Sequence[Sequence[str]],
        texts: Sequence[str] = (),
        whole: str = "",
        is_drawn: bool = False,
    ) -> Row:
        """Return CHECKS, and with a language vectors and trust, of one adapter.

        weights (d,): what the encoder predicts; None without an encoder. groups: the captions of each rendering that
        has some. texts, whole: about the adapter, and all of them as one. is_drawn: whether the renderings are the
        adapter's own drawings, whose captions always count. Captions that contradict the weights do not
        count, unless the weights resemble those of no training adapter. If no encoder reads the weights, captions are
        texts among others. The texts of an adapter are encoded without those of others, because the last bits depend
        on the batch.
        """
        captions = list(chain.from_iterable(groups))
        checks = None if is_drawn else self._check(weights, captions)
        row = dict(zip(CHECKS, checks or (None, None, None), strict=True))
        if self.language is None or self.sentences is None:
            return row
        if weights is None:
            captions, texts = [], [*captions, *texts]
        elif checks and not checks[-1] and np.linalg.norm(weights) >= self.language.min_length:
            captions = []
        said, written = self.sentences.encode(captions), self.sentences.encode(texts)
        spoken = self.language.captions.mean(said)
        # of drawings those by the word alone: the others show everyday things, which are not what the adapter does
        alone = sum(map(len, groups[:NUM_ALONE])) if is_drawn else 0
        shown = self.language.captions.said(said[: alone or None])
        typical = int((shown @ spoken).argmax()) if captions else None
        trust = CERTAIN
        if weights is not None and texts:
            cosine = float(self.language.captions.mean(written) @ spoken) if captions else None
            trust = self._trust(self.language.trust, weights, cosine, texts)
        return row | {
            CAPTIONS_VECTOR: spoken,
            CAPTION: None if typical is None else captions[typical],
            TEXTS_VECTOR: self.language.texts.mean(written),
            WHOLE_TEXTS_VECTOR: self._whole(whole),
            TEXTS_TRUST: float(np.float32(trust)),
        }

    def _check(
        self, weights: Float32Array | None, captions: Sequence[str]
    ) -> tuple[float, float, bool] | None:
        """Return agreement, expected agreement, and whether captions agree with weights; None if it is unknown."""
        if self.rule is None or weights is None or not captions:
            return None
        prediction, total = weights[None].astype(np.float64), self.embed(captions).sum(axis=0)[None]
        agreement, expected = self.rule.agreements(prediction, total), self.rule.expected(prediction, total)
        return float(np.float32(agreement[0])), float(np.float32(expected[0])), bool(agreement >= expected)

    def _whole(self, text: str) -> Float32Array:
        """Return the unit vector (d,) of a text as the sentence encoder makes it; zero of an empty one."""
        assert self.sentences is not None
        vector = self.sentences.encode([text])[0] if text else np.zeros(self.sentences.width, np.float32)
        unit: Float32Array = directions(vector[None].astype(np.float64))[0].astype(np.float32)
        return unit

    def _trust(
        self, trust: TextTrust, weights: Float32Array, cosine: float | None, texts: Sequence[str]
    ) -> float:
        """Return the log-odds that texts are the adapter's own. cosine: with its captions; None if none count."""
        if cosine is not None or self.rule is None:
            return trust.log_odds(cosine, 0.0, 0.0)
        prediction, total = weights[None].astype(np.float64), self.embed(texts).sum(axis=0)[None]
        agreement = float(self.rule.agreements(prediction, total)[0])
        return trust.log_odds(None, agreement, float(np.linalg.norm(prediction)))


def evidence_reader(
    encoder: Encoder | None,
    text_encoder: TextEncoder | None,
    language: Language | None,
    sentences: TextEncoder | None,
) -> EvidenceReader:
    """Return the reader of an encoder with its language."""

    def embed(texts: Sequence[str]) -> Float64Array:
        assert encoder is not None and text_encoder is not None
        return embed_texts(encoder, text_encoder, texts)

    return EvidenceReader(caption_rule(encoder) if encoder else None, embed, language, sentences)
