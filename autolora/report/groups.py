"""The adapters of the page in groups: by theme if themes are judged, else by similarity, named after captions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, log

import numpy as np

from autolora.report.cards import Card
from autolora.report.similarity import AdapterVectors
from autolora.storage.arrays import Float64Array

UNJUDGED = "theme not judged"
MAX_ITERATIONS = 20
"""of k-means"""
NAME_WORDS = 3
"""words in the name of a group that is named after captions"""
MIN_NAME_SHARE = 0.5
"""a word can name a group if the captions of at least this share of its adapters contain it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Adapters of one theme, or adapters that are similar to each other."""

    name: str
    kind: str | None
    cards: tuple[Card, ...]


def group(cards: Sequence[Card], vectors: AdapterVectors | None) -> list[Group]:
    """Return accepted cards in groups: by kind and theme if any theme is judged, else by similarity."""
    if any(card.theme for card in cards) or vectors is None:
        return _group_by_theme(cards)
    return _group_by_similarity(cards, vectors)


def _group_by_theme(cards: Sequence[Card]) -> list[Group]:
    members: dict[tuple[str | None, str | None], list[Card]] = {}
    for card in cards:
        members.setdefault((card.kind, card.theme), []).append(card)
    return [
        Group(name=theme or UNJUDGED, kind=kind, cards=tuple(group_cards))
        for (kind, theme), group_cards in members.items()
    ]


def _group_by_similarity(cards: Sequence[Card], source: AdapterVectors) -> list[Group]:
    """Return clusters of similar adapters, similar clusters next to each other; adapters without a vector last."""
    selected = source.select(list(dict.fromkeys(card.sha256 for card in cards)))
    if not selected.adapters:
        return _group_by_theme(cards)
    labels = dict(zip(selected.adapters, cluster(selected.vectors), strict=True))
    members: dict[int, list[Card]] = {}
    for card in cards:
        members.setdefault(labels.get(card.sha256, len(cards)), []).append(card)
    order = sorted(members)
    names = _names([members[label] for label in order])
    return [
        Group(name=name, kind=None, cards=tuple(sorted(members[label], key=lambda card: card.listing.id)))
        for name, label in zip(names, order, strict=True)
    ]


def cluster(vectors: Float64Array) -> list[int]:
    """Return a cluster label for each unit vector (N, d): about √N clusters, numbered so that similar ones follow.

    Spherical k-means whose first centers are chosen farthest first, so that equal vectors give equal labels.
    """
    centers = vectors[_farthest_first(vectors, max(1, isqrt(len(vectors))))]
    labels = (vectors @ centers.T).argmax(axis=1)
    for _ in range(MAX_ITERATIONS):
        centers = np.stack([_center(vectors[labels == i], centers[i]) for i in range(len(centers))])
        updated = (vectors @ centers.T).argmax(axis=1)
        if (updated == labels).all():
            break
        labels = updated
    rank = {label: position for position, label in enumerate(_nearest_neighbor_order(centers))}
    return [rank[label] for label in labels.tolist()]


def _farthest_first(vectors: Float64Array, count: int) -> list[int]:
    """Return the indices of `count` vectors: the most central one, then always the one farthest from all chosen."""
    chosen = [int((vectors @ vectors.mean(axis=0)).argmax())]
    closest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(closest.argmin()))
        closest = np.maximum(closest, vectors @ vectors[chosen[-1]])
    return chosen


def _center(members: Float64Array, former: Float64Array) -> Float64Array:
    """Return the unit mean of a cluster's members; an empty cluster keeps its former center."""
    total = members.sum(axis=0) if len(members) else former
    center: Float64Array = total / max(float(np.linalg.norm(total)), 1e-12)
    return center


def _nearest_neighbor_order(centers: Float64Array) -> list[int]:
    """Return an order in which each center is followed by the most similar one of the remaining."""
    cosines, order = centers @ centers.T, [0]
    while len(order) < len(centers):
        remaining = [index for index in range(len(centers)) if index not in order]
        order.append(max(remaining, key=lambda index: float(cosines[order[-1], index])))
    return order


def _names(groups: Sequence[Sequence[Card]]) -> list[str]:
    """Return for each group the words that are typical of its captions; all names are distinct."""
    counts = [Counter(word for card in cards for word in _words(card)) for cards in groups]
    everywhere = sum(counts, Counter[str]())
    total = sum(map(len, groups))
    names: list[str] = []
    for number, (own, cards) in enumerate(zip(counts, groups, strict=True), 1):
        name = _name(own, len(cards), everywhere, total) or f"group {number}"
        names.append(f"{name} ({number})" if name in names else name)
    return names


def _name(own: Mapping[str, int], size: int, everywhere: Mapping[str, int], total: int) -> str:
    """Return the words of the largest tf-idf weight; empty if no word is typical."""
    weights = {
        word: count / size * log(total / everywhere[word])
        for word, count in own.items()
        if count >= MIN_NAME_SHARE * size
    }
    best = sorted(weights, key=lambda word: (-weights[word], word))[:NAME_WORDS]
    return " · ".join(word for word in best if weights[word] > 0)


def _words(card: Card) -> set[str]:
    texts = (text for rendering in card.renderings for _, text in rendering.captions)
    return {word for text in texts for word in re.findall(r"[^\W\d_]{3,24}", text.lower())}
