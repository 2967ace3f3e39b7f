"""Adapters that the halves of the report mention, with what the page shows of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora.report.cards import Card, Rendering
from autolora.report.images import Picture, embed_strip

SHOWN = 12
"""trials of one outcome with their pictures, at most"""
OPEN = 4
"""of them unfolded"""
FEW = 3
"""pictures of an adapter that is only mentioned"""


class Mentions:
    """Looks adapters and renderings up by their sha256."""

    def __init__(self, root: Path, cards: Sequence[Card], pictures: Mapping[str, Picture]) -> None:
        """Know the cards of a page and the pictures on it, by the sha256 of the rendering."""
        accepted = [card for card in cards if card.adapter.accepted]
        self._root = root
        self._cards = {card.sha256: card for card in reversed(accepted)}
        self._pictures = pictures
        self._renderings: dict[str, tuple[Card, Rendering]] = {}
        for card in accepted:
            for rendering in card.renderings:
                self._renderings.setdefault(rendering.sha256, (card, rendering))

    def name(self, sha256: str) -> str:
        """Return the hub's name of an adapter; the beginning of its sha256 when it has left the pool."""
        return self._cards[sha256].listing.id if sha256 in self._cards else sha256[:12]

    def adapter(self, sha256: str) -> dict[str, Any]:
        """Return what the page shows of an adapter that is only mentioned."""
        card = self._cards.get(sha256)
        shown = [self._pictures.get(r.sha256) for r in card.renderings] if card else []
        return {
            "name": self.name(sha256),
            "anchor": card.anchor if card else None,
            "theme": card.theme if card else None,
            "side": card.side if card else None,
            "pictures": [picture for picture in shown if picture][:FEW],
            "nsfw": card.listing.nsfw if card else False,
        }

    def searches(self, evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the example queries, each with the picture that it describes and its hits."""
        return [self._search(item) for item in evaluation.get("gallery", ())]

    def trials(self, experiments: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return by outcome the trials with their strips of pictures by method, and how each is folded."""
        found: dict[str, list[dict[str, Any]]] = {}
        for trial in experiments.get("shown", ()):
            members = found.setdefault(trial["outcome"], [])
            if len(members) < SHOWN:
                members.append(self._trial(trial, experiments.get("methods", ()), len(members) >= OPEN))
        return found

    def _search(self, item: Mapping[str, Any]) -> dict[str, Any]:
        card, rendering = self._renderings.get(item["image"], (None, None))
        hits = [dict(hit) | self.adapter(hit["sha256"]) for hit in item["hits"]]
        right = "right theme" if item["themes"] else "own"
        return {
            "text": item["text"],
            "themes": item["themes"],
            "picture": self._pictures.get(rendering.sha256) if rendering else None,
            "nsfw": bool(card and card.listing.nsfw),
            "hits": [hit | {"right": hit[right]} for hit in hits],
        }

    def _trial(self, trial: Mapping[str, Any], methods: Sequence[str], folded: bool) -> dict[str, Any]:
        strips: Mapping[str, str] = trial["strips"]
        order = [name for name in methods if name in strips] + [
            name for name in strips if name not in methods
        ]
        folder = self._root / "data" / "experiments"
        rows = [(name, embed_strip(folder / strips[name])) for name in order]
        adapters = [
            self.adapter(sha256) | {"relevance": relevance}
            for sha256, relevance in zip(trial["adapters"], trial["relevance"], strict=True)
        ]
        return {
            "prompt": trial["prompt"],
            "unseen": trial["unseen"],
            "adapters": adapters,
            "rows": [(name, strip) for name, strip in rows if strip],
            "nsfw": any(adapter["nsfw"] for adapter in adapters),
            "folded": folded,
        }
