"""The headline numbers at the top of the page, from metrics/summary.json, each with its interval and sample size."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.pool.near_duplicates import NEAR_DUPLICATE
from autolora.records import ACCEPTED
from autolora.report.cards import Card

RETRIEVAL = {
    "hybrid_theme_r_at_1_unseen": "R@1 by theme, weights and captions: share of searches whose first hit has the theme",
    "theme_r_at_1_unseen": "R@1 by theme, weights alone: share of searches whose first hit has the requested theme",
}
CHANCE = "retrieval.random_theme_r_at_1_unseen"
FUSION = "fusion.pair_prompt_similarity_gated_minus_direct"

Tile = dict[str, str]
"""number, label and note"""
Summary = Mapping[str, Mapping[str, Any]]


def tiles(cards: Sequence[Card], summary: Summary) -> list[Tile]:
    """Return the size of the pool and the headline numbers that have been measured."""
    return [_pool(cards), *_retrieval(summary), *_fusion(summary)]


def _pool(cards: Sequence[Card]) -> Tile:
    accepted = [card for card in cards if card.adapter.accepted]
    renderings = {rendering.sha256 for card in accepted for rendering in card.renderings}
    themes = {card.theme for card in accepted if card.theme}
    verdicts = {card.sha256: card.adapter.verdict for card in cards}
    duplicates = sum(verdict == NEAR_DUPLICATE for verdict in verdicts.values())
    active = sum(verdict == ACCEPTED for verdict in verdicts.values())
    note = [f"{len(renderings)} renderings", *[f"{len(themes)} themes"] * bool(themes)]
    note += [f"{len(verdicts) - active - duplicates} files refused"]
    note += [f"{duplicates} near-duplicates"] * bool(duplicates)
    return _tile(str(active), "adapters in the pool", ", ".join(note))


def _retrieval(summary: Summary) -> list[Tile]:
    measured = []
    for name, label in RETRIEVAL.items():
        row, chance = summary.get(f"retrieval.{name}"), summary.get(CHANCE)
        if row and chance:
            note = f"95 % interval {row['low']:.2f} to {row['high']:.2f}, chance {chance['value']:.2f}; "
            note += f"{row['n']} queries about adapters unseen in training"
            measured.append(_tile(f"{row['value']:.2f}", label, note))
    return measured


def _fusion(summary: Summary) -> list[Tile]:
    row = summary.get(FUSION)
    if not row:
        return []
    note = f"95 % interval {row['low']:+.3f} to {row['high']:+.3f}; 0 means no difference; {row['n']} images"
    label = "gated − direct: difference in prompt similarity (CLIP cosine), both adapters requested"
    return [_tile(f"{row['value']:+.3f}", label, note)]


def _tile(number: str, label: str, note: str) -> Tile:
    return {"number": number, "label": label, "note": note}
