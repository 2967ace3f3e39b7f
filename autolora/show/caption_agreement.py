"""How well each caption of an adapter agrees with its weights and with its other images: `autolora show --captions`."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import UNREAD
from autolora.matching.caption_rule import directions
from autolora.records import Caption
from autolora.search.retriever import Retriever


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionAgreement:
    """The agreement of one caption."""

    image: str
    """sha256 of the rendering"""
    text: str
    cut: bool
    """whether its end is missing"""
    weights: float
    """cosine with the vector of the adapter's weights"""
    others: float | None
    """cosine with the mean vector of the captions of the adapter's other images; None if there are none"""

    @property
    def total(self) -> float:
        """Return the sum of both cosines.

        The weights alone miss wrong images if no training adapter has the concept; the others alone do not tell which
        of two images is wrong.
        """
        return self.weights + (self.others or 0.0)


def compare_captions(
    retriever: Retriever, adapter: str, captions: Sequence[Caption]
) -> list[CaptionAgreement]:
    """Return the agreement of each caption: those of one image together, images that agree least first.

    Raises MissingArtifact if the index does not contain the adapter, MismatchError if no encoder has read its weights.
    """
    [position] = retriever.index.find([adapter]).tolist()
    if position < 0:
        raise MissingArtifact(
            f"the index that searches read does not contain {adapter}: give an adapter with the verdict 'accepted', "
            "after a refresh"
        )
    if not retriever.index.has_weights:
        raise MismatchError(f"captions cannot be compared with the weights: {UNREAD}")
    vectors = retriever.embed_all([caption.text for caption in captions])
    images = np.array([caption.image for caption in captions])
    weights = retriever.index.weights_vectors[position : position + 1].astype(np.float64)
    cosines = vectors @ directions(weights)[0]
    total = vectors.sum(axis=0)
    agreements = []
    for caption, vector, cosine in zip(captions, vectors, cosines.tolist(), strict=True):
        own = images == caption.image
        others = directions((total - vectors[own].sum(axis=0))[None].astype(np.float64))[0]
        agreements.append(
            CaptionAgreement(
                image=caption.image,
                text=caption.text,
                cut=caption.cut,
                weights=cosine,
                others=None if own.all() else float(vector @ others),
            )
        )
    return _by_image(agreements)


def _by_image(agreements: Sequence[CaptionAgreement]) -> list[CaptionAgreement]:
    """Return the agreements by image, in the order of the mean sum of cosines of an image's captions."""
    in_order = sorted(agreements, key=lambda agreement: agreement.image)
    groups = [list(group) for _, group in groupby(in_order, key=lambda agreement: agreement.image)]
    groups.sort(key=lambda group: sum(agreement.total for agreement in group) / len(group))
    return [agreement for group in groups for agreement in group]
