"""What the page's pool browser knows: the adapters as JSON that no markup can break out of."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from autolora.report.cards import Card
from autolora.report.groups import Group
from autolora.report.images import Picture
from autolora.report.maps import Map

Nearest = Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]
"""source -> adapter -> its nearest others with their cosines"""


def browse(
    cards: Sequence[Card],
    groups: Sequence[Group],
    pictures: Mapping[str, Picture],
    nearest: Nearest,
    copies: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Return what the browser shows of each card; other adapters are named by their place in the list.

    pictures: those on the page by the sha256 of the rendering.
    """
    places = {card.sha256: place for place, card in reversed(list(enumerate(cards)))}
    named = {card.sha256: group.name for group in groups for card in group.cards}
    return [
        _described(card)
        | {
            "group": named.get(card.sha256),
            "pictures": [
                {"p": pictures[r.sha256].number, "prompt": r.prompt, "captions": r.captions}
                for r in card.renderings
                if r.sha256 in pictures
            ],
            "near": {
                source: [
                    [places[other], round(cosine, 3)]
                    for other, cosine in found.get(card.sha256, ())
                    if other in places
                ]
                for source, found in nearest.items()
            },
            "copies": [places[other] for other in copies.get(card.sha256, ()) if other in places],
        }
        for card in cards
    ]


def drawn(found: Map | None, cards: Sequence[Card]) -> dict[str, Any] | None:
    """Return what pointing at the heat map needs."""
    if found is None:
        return None
    places = {card.sha256: place for place, card in reversed(list(enumerate(cards)))}
    return {
        "order": [places[sha256] for sha256 in found.adapters],
        "layers": [
            {"name": layer.name, "low": layer.low, "high": layer.high, "cells": layer.cells}
            for layer in found.layers
        ],
    }


def to_script(value: Any) -> Markup:
    """Return JSON for a script element: it holds no `<`, `>` or `&`, so nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, sort_keys=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def _described(card: Card) -> dict[str, Any]:
    listing, adapter = card.listing, card.adapter
    return {
        "key": card.anchor,
        "sha256": card.sha256,
        "id": listing.id,
        "hub": listing.hub,
        "file": listing.file,
        "version": listing.version,
        "size": adapter.size,
        "license": listing.license,
        "nsfw": listing.nsfw,
        "triggers": listing.trigger_words,
        "seen": listing.first_seen.isoformat(),
        "layout": adapter.layout,
        "dtype": adapter.dtype,
        "rank": adapter.rank_max,
        "layers": adapter.num_slots,
        "norm": adapter.norm,
        "accepted": adapter.accepted,
        "code": adapter.verdict,
        "verdict": card.verdict,
        "theme": card.theme,
        "kind": card.kind,
        "side": card.side if adapter.accepted else None,
    }
