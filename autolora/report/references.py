"""The adapters and images that the report parts refer to by sha256, as the page shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora.experiments import store as experiments_store
from autolora.fusion.gate_means import GateMeans
from autolora.index.caption_check import disagreeing
from autolora.report.cards import Card, Rendering
from autolora.report.gate_heatmap import gate_heatmaps
from autolora.report.images import PageImage, encode_grid

MAX_CASES = 12
"""prompt cases per scenario that the page shows with their images"""
UNFOLDED_CASES = 2
"""of them, those that are visible without a click"""
MAX_DISAGREEING = 24
"""adapters whose captions disagree with the weights that the page shows with images; its browser lists all"""
MAX_RENDERINGS = 3
"""per adapter that is referred to"""


class References:
    """Finds adapters and renderings by their sha256."""

    def __init__(self, root: Path, cards: Sequence[Card], images: Mapping[str, PageImage]) -> None:
        """Index the cards of a page; images: those on the page by the sha256 of the rendering."""
        accepted = [card for card in cards if card.adapter.accepted]
        self._root = root
        self._cards = {card.sha256: card for card in reversed(accepted)}
        self._images = images
        self._renderings: dict[str, tuple[Card, Rendering]] = {}
        for card in accepted:
            for rendering in card.renderings:
                self._renderings.setdefault(rendering.sha256, (card, rendering))

    def name(self, sha256: str) -> str:
        """Return the hub's name of an adapter; the first digits of its sha256 if it has left the pool."""
        return self._cards[sha256].listing.id if sha256 in self._cards else sha256[:12]

    def adapter(self, sha256: str) -> dict[str, Any]:
        """Return what the page shows of an adapter that a report part refers to."""
        card = self._cards.get(sha256)
        images = [self._images.get(rendering.sha256) for rendering in card.renderings] if card else []
        return {
            "name": self.name(sha256),
            "anchor": card.anchor if card else None,
            "theme": card.theme if card else None,
            "split": card.split_label if card else None,
            "images": [image for image in images if image][:MAX_RENDERINGS],
            "nsfw": card.listing.nsfw if card else False,
        }

    def disagreeing(self) -> list[dict[str, Any]]:
        """Return the adapters whose captions disagree with their weights, the lowest agreement first."""
        cards = self._cards.items()
        checks = {sha256: card.caption_check for sha256, card in cards if card.caption_check}
        return [
            self.adapter(sha256) | {"cosines": check.cosines} for sha256, check in disagreeing(checks).items()
        ]

    def searches(self, evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the example searches, each with the rendering that its query describes and its hits."""
        return [self._search(example) for example in evaluation.get("examples", ())]

    def cases(self, experiments: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """Return scenario -> the prompt cases that the page shows, with their rows of images by method."""
        by_scenario: dict[str, list[dict[str, Any]]] = {}
        for case in experiments.get("cases", ()):
            members = by_scenario.setdefault(case["scenario"], [])
            if len(members) < MAX_CASES:
                folded = len(members) >= UNFOLDED_CASES
                members.append(self._case(case, experiments.get("methods", ()), folded))
        return by_scenario

    def _search(self, example: Mapping[str, Any]) -> dict[str, Any]:
        card, rendering = self._renderings.get(example["image"], (None, None))
        relevant = "same theme" if example["themes"] else "same adapter"
        hits = [dict(hit) | self.adapter(hit["sha256"]) for hit in example["hits"]]
        return {
            "text": example["text"],
            "themes": example["themes"],
            "image": self._images.get(rendering.sha256) if rendering else None,
            "nsfw": bool(card and card.listing.nsfw),
            "hits": [hit | {"relevant": hit[relevant], "same_adapter": hit["same adapter"]} for hit in hits],
        }

    def _case(self, case: Mapping[str, Any], methods: Sequence[str], folded: bool) -> dict[str, Any]:
        grids: Mapping[str, str] = case["grids"]
        order = [method for method in methods if method in grids]
        order += [method for method in grids if method not in methods]
        folder = experiments_store.folder(self._root)
        rows = [(method, encode_grid(folder / grids[method])) for method in order]
        adapters = [
            self.adapter(sha256) | {"relevance": relevance}
            for sha256, relevance in zip(case["adapters"], case["relevance"], strict=True)
        ]
        means = case.get("gate_means")  # absent if the measurement recorded none
        return {
            "prompt": case["prompt"],
            "gates": gate_heatmaps(GateMeans.from_json(means), self.name) if means else [],
            "adapters": adapters,
            "rows": [(method, image) for method, image in rows if image],
            "nsfw": any(adapter["nsfw"] for adapter in adapters),
            "folded": folded,
        }
