"""The pool in groups: by theme where themes are judged, else by likeness, named by what captions say."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, log

import numpy as np

from autolora.report.cards import Card
from autolora.report.likeness import Floats, Likeness

UNJUDGED = "theme not judged"
ROUNDS = 20
"""of moving centers, at most"""
WORDS = 3
"""of a name that captions give"""
COMMON = 0.5
"""a word names a group when at least this share of its adapters have it in their captions"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Adapters that belong together."""

    name: str
    kind: str | None
    cards: tuple[Card, ...]


def group(cards: Sequence[Card], likeness: Likeness | None) -> list[Group]:
    """Return accepted cards in groups: by kind and theme where any is judged, else by likeness."""
    if any(card.theme for card in cards) or likeness is None:
        return _by_theme(cards)
    return _by_likeness(cards, likeness)


def _by_theme(cards: Sequence[Card]) -> list[Group]:
    members: dict[tuple[str | None, str | None], list[Card]] = {}
    for card in cards:
        members.setdefault((card.kind, card.theme), []).append(card)
    return [
        Group(name=theme or UNJUDGED, kind=kind, cards=tuple(found))
        for (kind, theme), found in members.items()
    ]


def _by_likeness(cards: Sequence[Card], likeness: Likeness) -> list[Group]:
    """Return groups of like adapters, like groups beside each other; last, what has no vector yet."""
    placed = likeness.among(list(dict.fromkeys(card.sha256 for card in cards)))
    if not placed.adapters:
        return _by_theme(cards)
    labels = dict(zip(placed.adapters, cluster(placed.vectors), strict=True))
    members: dict[int, list[Card]] = {}
    for card in cards:
        members.setdefault(labels.get(card.sha256, len(cards)), []).append(card)
    order = sorted(members)
    names = _names([members[label] for label in order])
    return [
        Group(name=name, kind=None, cards=tuple(sorted(members[label], key=lambda card: card.listing.id)))
        for name, label in zip(names, order, strict=True)
    ]


def cluster(vectors: Floats) -> list[int]:
    """Return a cluster for each unit vector (N, d): about √N of them, numbered so that like ones follow.

    Spherical k-means whose first centers are drawn farthest first, so that the same vectors give the same.
    """
    centers = vectors[_farthest_first(vectors, max(1, isqrt(len(vectors))))]
    labels = (vectors @ centers.T).argmax(axis=1)
    for _ in range(ROUNDS):
        centers = np.stack([_center(vectors[labels == i], centers[i]) for i in range(len(centers))])
        moved = (vectors @ centers.T).argmax(axis=1)
        if (moved == labels).all():
            break
        labels = moved
    rank = {label: place for place, label in enumerate(_chain(centers))}
    return [rank[label] for label in labels.tolist()]


def _farthest_first(vectors: Floats, count: int) -> list[int]:
    chosen = [int((vectors @ vectors.mean(axis=0)).argmax())]
    closest = vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(closest.argmin()))
        closest = np.maximum(closest, vectors @ vectors[chosen[-1]])
    return chosen


def _center(members: Floats, before: Floats) -> Floats:
    total = members.sum(axis=0) if len(members) else before
    center: Floats = total / max(float(np.linalg.norm(total)), 1e-12)
    return center


def _chain(centers: Floats) -> list[int]:
    """Return an order in which each center is followed by the nearest that is left."""
    alike, order = centers @ centers.T, [0]
    while len(order) < len(centers):
        left = [place for place in range(len(centers)) if place not in order]
        order.append(max(left, key=lambda place: float(alike[order[-1], place])))
    return order


def _names(groups: Sequence[Sequence[Card]]) -> list[str]:
    """Return for each group the words that its captions have and others' have not, no name twice."""
    counts = [Counter(word for card in cards for word in _words(card)) for cards in groups]
    everywhere = sum(counts, Counter[str]())
    total = sum(map(len, groups))
    found: list[str] = []
    for number, (own, cards) in enumerate(zip(counts, groups, strict=True), 1):
        name = _name(own, len(cards), everywhere, total) or f"group {number}"
        found.append(f"{name} ({number})" if name in found else name)
    return found


def _name(own: Mapping[str, int], size: int, everywhere: Mapping[str, int], total: int) -> str:
    weights = {
        word: count / size * log(total / everywhere[word])
        for word, count in own.items()
        if count >= COMMON * size
    }
    best = sorted(weights, key=lambda word: (-weights[word], word))[:WORDS]
    return " · ".join(word for word in best if weights[word] > 0)


def _words(card: Card) -> set[str]:
    texts = (text for rendering in card.renderings for _, text in rendering.captions)
    return {word for text in texts for word in re.findall(r"[^\W\d_]{3,24}", text.lower())}
