"""What the page shows by comparing adapters: groups, heat map, agreement with themes, nearest and near-duplicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.report import similarity
from autolora.report.browser import Neighbors
from autolora.report.cards import Card
from autolora.report.charts import Chart, make_charts
from autolora.report.groups import Group, group
from autolora.report.heatmap import Heatmap, build_heatmap


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The accepted adapters compared with each other; the vectors do not stay in memory."""

    groups: list[Group]
    heatmap: Heatmap | None
    agreement: Mapping[str, Mapping[str, Any]]
    """source of vectors -> how often the nearest other adapter has the same theme; empty without themes"""
    neighbors: Neighbors
    duplicates: Mapping[str, Sequence[str]]
    """adapter -> the others of its near-duplicate family"""

    def agreement_charts(self) -> list[Chart]:
        """Return the chart of the agreement; none without themes."""
        table = {"similarity": {"methods": self.agreement}}
        return make_charts(table, tuple(self.neighbors)) if self.agreement else []


def compare_adapters(root: Path, accepted: Sequence[Card]) -> Comparison:
    """Return the comparison of accepted adapters by the vectors of the index and by raw sketches, if they exist."""
    vectors = {"index": similarity.index_vectors(root), "raw sketch": similarity.sketch_vectors(root)}
    sources = {name: source for name, source in vectors.items() if source}
    groups = group(accepted, next(iter(sources.values()), None))
    return Comparison(
        groups=groups,
        heatmap=build_heatmap(groups, sources),
        agreement=_theme_agreement(accepted, sources),
        neighbors={name: source.nearest() for name, source in sources.items()},
        duplicates=similarity.family_members(root),
    )


def _theme_agreement(
    accepted: Sequence[Card], sources: Mapping[str, similarity.AdapterVectors]
) -> dict[str, dict[str, Any]]:
    themes = {card.sha256: card.theme for card in accepted if card.theme}
    unseen = [card.sha256 for card in accepted if card.split != "train"]
    return similarity.theme_agreement(sources, themes, unseen) if sources and themes else {}
