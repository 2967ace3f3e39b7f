"""The headline numbers of the page, each with what it must be read with."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.pool.near_duplicates import NEAR
from autolora.records import ACCEPTED
from autolora.report.cards import Card
from autolora.report.estimates import is_estimate

LEVELS = {"theme": "an adapter of the right theme", "adapter": "the very adapter"}
Tile = dict[str, str]
"""number, what it is, and a note"""


def tiles(
    cards: Sequence[Card],
    evaluation: Mapping[str, Any] | None,
    experiments: Mapping[str, Any] | None,
) -> list[Tile]:
    """Return the headline numbers of what there is."""
    return [_pool(cards), *_retrieval(evaluation or {}), *_fusion(experiments or {})]


def _pool(cards: Sequence[Card]) -> Tile:
    accepted = [card for card in cards if card.adapter.accepted]
    pictures = {rendering.sha256 for card in accepted for rendering in card.renderings}
    themes = {card.theme for card in accepted if card.theme}
    codes = {card.sha256: card.adapter.verdict for card in cards}
    near, here = (sum(code == wanted for code in codes.values()) for wanted in (NEAR, ACCEPTED))
    about = [f"{len(pictures)} renderings", *[f"{len(themes)} themes"] * bool(themes)]
    about += [f"{len(codes) - here - near} files refused", *[f"{near} near-duplicates"] * bool(near)]
    return _tile(str(here), "adapters in the pool", ", ".join(about))


def _retrieval(evaluation: Mapping[str, Any]) -> list[Tile]:
    levels = evaluation.get("levels", {})
    found = [(name, words, levels[name]["methods"]) for name, words in LEVELS.items() if name in levels]
    return [
        _first(words, methods["encoder"]["R@1"], methods["random"]["R@1"])
        for _, words, methods in found
        if all(is_estimate(methods.get(method, {}).get("R@1")) for method in ("encoder", "random"))
    ]


def _first(words: str, ours: Mapping[str, Any], chance: Mapping[str, Any]) -> Tile:
    note = f"95 % interval {ours['low']:.2f} to {ours['high']:.2f}, chance {chance['value']:.2f}; "
    note += f"{ours['n']} queries on {ours['clusters']} unseen adapters"
    return _tile(f"{ours['value']:.2f}", f"R@1: {words} comes first", note)


def _fusion(experiments: Mapping[str, Any]) -> list[Tile]:
    pairs = experiments.get("outcomes", {}).get("pairs", {})
    minus = pairs.get("differences", {}).get("gated − direct", {}).get("text")
    if not is_estimate(minus):
        return []
    note = f"95 % interval {minus['low']:+.3f} to {minus['high']:+.3f}, nothing would be 0; "
    note += f"{minus['n']} pictures of {minus['clusters']} pairs"
    return [_tile(f"{minus['value']:+.3f}", "gated − direct, likeness to the prompt", note)]


def _tile(number: str, what: str, note: str) -> Tile:
    return {"number": number, "what": what, "note": note}
