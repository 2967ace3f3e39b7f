"""Why a search returns an adapter: its nearest captions, and the words that match the prompt.

    collection = autolora.open(".")
    reasons = collection.reasons(prompt, collection.search(prompt, k=3))

Captions belong to a hit only if they are those that the index was built from; otherwise the reasons say so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.extras import libraries_for
from autolora.index.copies import Index
from autolora.index.store import WORDS
from autolora.matching.caption_rule import directions
from autolora.matching.words import STOP_WORDS, split_words
from autolora.records import Hit
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row
from autolora.storage.tables import read_where
from autolora.text_encoder.spelling import one_spelling

if TYPE_CHECKING:  # which imports this module
    from autolora.search.retriever import Retriever

NEAREST_CAPTIONS = 2
NO_CAPTIONS = "a published index does not contain them, only the project that it was made in"


@dataclass(frozen=True, kw_only=True, slots=True)
class MatchingCaption:
    """A caption of an adapter, compared with a prompt."""

    image: str
    """sha256 of the rendering"""
    text: str
    score: float
    """cosine with the prompt, or the part of it that the hit answers"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reasons:
    """Why one adapter matches a prompt."""

    weights_score: float | None
    """cosine of prompt or part with the vector of the weights alone; None if no encoder has read them"""
    captions_score: float | None
    """cosine of prompt or part with the captions' centroid; None without captions"""
    uses_captions: bool | None
    """whether searches use the captions; False: they disagree with the weights; None: the encoder takes no captions, or
    the adapter has none"""
    captions: tuple[MatchingCaption, ...]
    """the nearest ones, nearest first, at most one per image"""
    words: tuple[str, ...]
    """words of the prompt that captions, trigger words or description contain, without stop words; with a language
    also the words of the name"""
    unavailable: tuple[str, ...]
    """what could not be determined, and why"""


def explain(retriever: "Retriever", prompt: str, hits: Sequence[Hit]) -> list[Reasons]:
    """Return the reasons of each hit of a search for a prompt by this retriever: for the part that it answers."""
    index = retriever.index
    positions = dict(zip(hits, index.find([hit.sha256 for hit in hits]).tolist(), strict=True))
    stored = {hit.sha256: index.rows[position] for hit, position in positions.items()}
    captions, missing = _find_captions(
        retriever.project, {sha256: row["captions_digest"] for sha256, row in stored.items()}
    )
    reasons = []
    for hit in hits:
        row, own = stored[hit.sha256], captions.get(hit.sha256)
        query = retriever.embed(hit.part or prompt)
        score, nearest = _match_captions(retriever, query, own if own and index.has_weights else ())
        reasons.append(
            Reasons(
                weights_score=_weights_score(index, positions[hit], query),
                captions_score=score,
                uses_captions=_uses_captions(index, positions[hit], row),
                captions=nearest,
                words=_shared_words(
                    prompt,
                    [
                        *(caption["text"] for caption in own or ()),
                        *hit.trigger_words,
                        *hit.description,
                        *(row.get(WORDS) or ()),
                    ],
                ),
                unavailable=(missing,) if own is None else (),
            )
        )
    return reasons


def _uses_captions(index: Index, position: int, row: Row) -> bool | None:
    """Return `Reasons.uses_captions` of the adapter at a position."""
    return True if index.language and index.has_captions[position] else row["uses_captions"]


def describe(reasons: Reasons) -> dict[str, str]:
    """Return the reasons as phrases: label -> phrase; labels without a value are left out."""
    phrases = {
        "cosines": "no encoder has read the weights"
        if reasons.weights_score is None
        else f"weights {reasons.weights_score:.3f}{_describe_captions_score(reasons)}",
        "nearest captions": "\n".join(f"{caption.score:.3f} {caption.text}" for caption in reasons.captions),
        "matched words": ", ".join(reasons.words),
        "unavailable": "\n".join(reasons.unavailable),
    }
    return {label: phrase for label, phrase in phrases.items() if phrase}


def _describe_captions_score(reasons: Reasons) -> str:
    """Return the cosine with the captions, and why the vector is without them; empty without captions."""
    if reasons.captions_score is None:
        return ""
    why_unused = {
        True: "",
        False: " (not used: they disagree with the weights)",
        None: " (not used: the encoder takes no captions)",
    }
    return f", captions {reasons.captions_score:.3f}{why_unused[reasons.uses_captions]}"


def _find_captions(project: Path | None, digests: Mapping[str, str]) -> tuple[dict[str, list[Row]], str]:
    """Return adapter -> its captions with the given digest, and why the others have none."""
    try:
        if project is None:
            raise MissingArtifact(NO_CAPTIONS)
        with libraries_for("reading them"):
            captions = _read_captions(project, digests)
        return captions, "captions: data/dataset holds another state of them than this index"
    except MissingArtifact as error:
        return {}, f"captions: {error}"


def _read_captions(root: Path, digests: Mapping[str, str]) -> dict[str, list[Row]]:
    """Return adapter -> its captions, for the adapters whose captions in the dataset have the given digest."""
    folder = dataset.folder(root)
    names = ["sha256", "captions_digest", "renderings"]
    adapters = [
        row
        for row in read_where(folder, "adapters", names, "sha256", list(digests))
        if row["captions_digest"] == digests[row["sha256"]]
    ]
    images = list(dict.fromkeys(image for row in adapters for image in row["renderings"]))
    captions: dict[str, list[Row]] = {}
    for caption in read_where(folder, "captions", ["id", "image", "text"], "image", images):
        captions.setdefault(caption["image"], []).append(caption)
    return {
        row["sha256"]: [caption for image in row["renderings"] for caption in captions.get(image, ())]
        for row in adapters
    }


def _weights_score(index: Index, position: int, query: Float32Array) -> float | None:
    """Return the cosine of a query (d,) with the weights of the adapter at a position; None without an encoder."""
    if not index.has_weights:
        return None
    return float(directions(index.weights_vectors[position : position + 1].astype(np.float64))[0] @ query)


def _match_captions(
    retriever: "Retriever", query: Float32Array, captions: Sequence[Row]
) -> tuple[float | None, tuple[MatchingCaption, ...]]:
    """Return the cosine of a query (d,) with the captions' centroid, and the captions nearest to it, one per image."""
    if not captions:
        return None, ()
    vectors = retriever.embed_all([caption["text"] for caption in captions])
    scores = vectors @ query
    by_image: dict[str, int] = {}
    for row in np.argsort(-scores, kind="stable").tolist():
        by_image.setdefault(captions[row]["image"], row)
    nearest = list(by_image.values())[:NEAREST_CAPTIONS]
    centroid = directions(vectors.sum(axis=0, dtype=np.float64)[None])[0]
    return float(centroid @ query), tuple(
        MatchingCaption(image=captions[row]["image"], text=captions[row]["text"], score=float(scores[row]))
        for row in nearest
    )


def _shared_words(prompt: str, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a prompt that one of the texts contains, in the order of the prompt."""
    known = {word for text in texts for word in split_words(one_spelling(text))}
    return tuple(
        word
        for word in dict.fromkeys(split_words(prompt))
        if one_spelling(word) in known and word not in STOP_WORDS
    )
