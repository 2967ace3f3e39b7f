"""Data of the page's script: the adapters and the heat map as JSON from which no markup can break out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from autolora.encoder.tags import describe_tags
from autolora.lora.remedies import REMEDIES
from autolora.params import HubsParams
from autolora.report.cards import Card
from autolora.report.groups import Group
from autolora.report.heatmap import Heatmap
from autolora.report.images import PageImage
from autolora.report.naming import display_name, file_size, file_stem, page_of

PIECE = 1 << 20
"""characters of the JSON that are escaped at a time: copies of all of it would take more memory than the page"""
ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}

MAX_FULL_TEXTS = 1000
"""up to this number of adapters, the page has all captions and prompts; beyond, the first caption of each image"""

Neighbors = Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]
"""source -> adapter -> its nearest others with their cosines"""


def adapter_rows(
    cards: Sequence[Card],
    groups: Sequence[Group],
    images: Mapping[str, PageImage],
    neighbors: Neighbors,
    duplicates: Mapping[str, Sequence[str]],
    hubs: HubsParams | None,
) -> list[dict[str, Any]]:
    """Return the data of each card; other adapters are given by their position in the list.

    images: those on the page by the sha256 of the rendering. duplicates: adapter -> its near-duplicates. hubs: where
    the pages of the adapters are; None leaves the links out.
    """
    positions = _positions(cards)
    group_names = {card.sha256: group.name for group in groups for card in group.cards}
    are_complete = len(cards) <= MAX_FULL_TEXTS
    return [
        _describe(card, hubs)
        | {
            "group": group_names.get(card.sha256),
            "images": _images(card, images, are_complete),
            "neighbors": {
                source: [
                    [positions[other], round(cosine, 3)]
                    for other, cosine in nearest.get(card.sha256, ())
                    if other in positions
                ]
                for source, nearest in neighbors.items()
            },
            "duplicates": [
                positions[other] for other in duplicates.get(card.sha256, ()) if other in positions
            ],
        }
        for card in cards
    ]


def _images(card: Card, images: Mapping[str, PageImage], are_complete: bool) -> list[dict[str, Any]]:
    """Return the images of a card: number on the page, prompt and captions; only the first caption in a large pool."""
    return [
        {
            "number": images[rendering.sha256].number,
            "prompt": rendering.prompt if are_complete else None,
            "captions": rendering.captions if are_complete else rendering.captions[:1],
        }
        for rendering in card.renderings
        if rendering.sha256 in images
    ]


def to_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return name -> the values of all rows: the names, which are the same in every row, take no room in the page."""
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}


def image_table(images: Mapping[str, PageImage]) -> list[tuple[str, int, int, bool]]:
    """Return (URL, width, height, whether it retains its pixels) of each image, by its number on the page."""
    ordered = sorted(images.values(), key=lambda image: image.number)
    return [(image.url, image.width, image.height, image.is_small) for image in ordered]


def heatmap_data(heatmap: Heatmap | None, cards: Sequence[Card]) -> dict[str, Any] | None:
    """Return what the script needs to show the pair of adapters under the pointer."""
    if heatmap is None:
        return None
    positions = _positions(cards)
    return {
        "order": [positions[sha256] for sha256 in heatmap.adapters],
        "layers": [
            {"name": layer.name, "low": layer.low, "high": layer.high, "cells": layer.cells}
            for layer in heatmap.layers
        ],
    }


def script_json(value: Any) -> Iterator[Markup]:
    """Yield JSON for a script element, in pieces: it holds no `<`, `>` or `&`, so nothing in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, sort_keys=True)
    for start in range(0, len(text), PIECE):
        yield Markup(text[start : start + PIECE].translate(ESCAPES))


def _positions(cards: Sequence[Card]) -> dict[str, int]:
    """Return adapter sha256 -> position of its first card."""
    return {card.sha256: position for position, card in reversed(list(enumerate(cards)))}


def _describe(card: Card, hubs: HubsParams | None) -> dict[str, Any]:
    listing, adapter, check = card.listing, card.adapter, card.caption_check
    name, author = display_name(listing.id, listing.file)
    return {
        "sha256": card.sha256,
        "id": listing.id,
        "full_name": card.full_name,
        "name": name,
        "author": author,
        "hub": listing.hub,
        "page": page_of(hubs, listing.hub, listing.id) if hubs else None,
        "file": listing.file,
        "stem": file_stem(listing.file),
        "bytes": adapter.size,
        "size": file_size(adapter.size),
        "license": listing.license,
        "commercial": listing.permissions.commercial,
        "derivatives": listing.permissions.derivatives,
        "nsfw": listing.nsfw,
        "person": listing.person,
        "triggers": listing.trigger_words,
        "seen": listing.first_seen.isoformat(),
        "layout": adapter.layout,
        "dtype": adapter.dtype,
        "rank": adapter.rank_max,
        "norm": adapter.norm,
        "accepted": adapter.accepted,
        "code": adapter.verdict,
        "verdict": card.verdict,
        "remedy": REMEDIES.get(adapter.verdict),
        "theme": card.theme,
        "kind": card.kind,
        "split": card.split_label if adapter.accepted else None,
        "check": ("agree" if check.agrees else "disagree") if check else None,
        "tags": describe_tags(card.tags) or None,
        "check_verdict": check.verdict if check else None,
    }
