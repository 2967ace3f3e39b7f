"""Similarity of adapters: cosines of the index's vectors and of the raw sketches."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autolora.dataset import store as dataset
from autolora.index import store as index
from autolora.metrics import retrieval
from autolora.metrics.bootstrap import estimate
from autolora.storage.arrays import Float64Array
from autolora.storage.tables import read_arrow, read_table, to_matrix, version_of

NEAREST = 4
SPARE = 4
"""further candidates for the nearest adapters, because candidates are found in float32 and compared in float64"""
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AdapterVectors:
    """Unit vectors of adapters, whose inner products are cosines."""

    adapters: tuple[str, ...]
    """sha256 (N,)"""
    vectors: Float64Array
    """(N, d)"""

    def select(self, adapters: Sequence[str]) -> "AdapterVectors":
        """Return the vectors of those of the given adapters that are present, in their order."""
        positions = {sha256: position for position, sha256 in enumerate(self.adapters)}
        selected = [sha256 for sha256 in adapters if sha256 in positions]
        rows = self.vectors[[positions[sha256] for sha256 in selected]]
        return AdapterVectors(adapters=tuple(selected), vectors=rows)

    def cosines(self) -> Float64Array:
        """Return the cosine of every two adapters (N, N)."""
        matrix: Float64Array = self.vectors @ self.vectors.T
        return matrix

    def nearest(self, k: int = NEAREST) -> dict[str, list[tuple[str, float]]]:
        """Return adapter -> its k nearest others with their cosines, best first."""
        count, neighbors = len(self.adapters), {}
        rough = self.vectors.astype(np.float32)
        for block in retrieval.blocks(count, count):
            cosines = rough[block] @ rough.T
            np.fill_diagonal(cosines[:, block], -np.inf)
            columns = retrieval.best_items(cosines, min(k + SPARE, count - 1))
            exact = np.einsum("id,ijd->ij", self.vectors[block], self.vectors[columns])
            order = np.lexsort((columns, -exact))[:, :k]
            columns, exact = np.take_along_axis(columns, order, 1), np.take_along_axis(exact, order, 1)
            for adapter, others, values in zip(
                self.adapters[block], columns.tolist(), exact.tolist(), strict=True
            ):
                names = (self.adapters[other] for other in others)
                neighbors[adapter] = list(zip(names, values, strict=True))
        return neighbors


def index_vectors(root: Path) -> AdapterVectors | None:
    """Return the vectors of the working index; None if there is no index yet."""
    if version_of(index.folder(root), index.TABLE) is None:
        return None
    return _normalized(index.folder(root), index.TABLE, "vector")


def sketch_vectors(root: Path) -> AdapterVectors | None:
    """Return the sketches' fingerprints, whose cosines estimate those of the sketches; None if there are none yet."""
    if version_of(dataset.folder(root), "adapters") is None:
        return None
    return _normalized(dataset.folder(root), "adapters", "fingerprint")


def family_members(root: Path) -> dict[str, list[str]]:
    """Return adapter -> the others of its near-duplicate family; adapters without any are left out."""
    if version_of(dataset.folder(root), "adapters") is None:
        return {}
    families: dict[str, list[str]] = {}
    for row in read_table(dataset.folder(root), "adapters", ["sha256", "family"]):
        families.setdefault(row["family"], []).append(row["sha256"])
    return {
        sha256: [other for other in members if other != sha256]
        for members in families.values()
        for sha256 in members
        if len(members) > 1
    }


def theme_agreement(
    sources: Mapping[str, AdapterVectors], themes: Mapping[str, str], unseen: Sequence[str]
) -> dict[str, Any]:
    """Return how often an adapter's nearest other has its theme: source (and chance) -> metric -> estimate.

    Counted are adapters whose theme at least one other adapter shares; intervals resample themes. Empty if there
    is no such adapter.
    """
    judged = sorted(set.intersection(*({*source.adapters} for source in sources.values())) & themes.keys())
    sizes, unseen_set = Counter(themes[sha256] for sha256 in judged), set(unseen)
    counted = [sha256 for sha256 in judged if sizes[themes[sha256]] > 1]
    groups = {
        "all adapters": counted,
        "unseen adapters": [sha256 for sha256 in counted if sha256 in unseen_set],
    }
    groups = {metric: members for metric, members in groups.items() if members}
    hits = {name: _nearest_has_theme(source.select(judged), themes) for name, source in sources.items()}
    hits["chance"] = {sha256: (sizes[themes[sha256]] - 1) / (len(judged) - 1) for sha256 in counted}
    return {
        source: {metric: _estimate(values, members, themes) for metric, members in groups.items()}
        for source, values in hits.items()
        if groups
    }


def _normalized(folder: Path, table: str, column: str) -> AdapterVectors | None:
    """Return the vectors in a column of a table; None if the table is empty."""
    rows = read_arrow(folder, table, ["sha256", column])
    if not len(rows):
        return None
    vectors = to_matrix(rows.column(column)).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return AdapterVectors(adapters=tuple(rows.column("sha256").to_pylist()), vectors=vectors)


def _nearest_has_theme(source: AdapterVectors, themes: Mapping[str, str]) -> dict[str, float]:
    nearest = source.nearest(1)
    return {
        sha256: float(bool(others) and themes[others[0][0]] == themes[sha256])
        for sha256, others in nearest.items()
    }


def _estimate(hits: Mapping[str, float], members: Sequence[str], themes: Mapping[str, str]) -> dict[str, Any]:
    values = np.array([hits[sha256] for sha256 in members])
    return asdict(estimate(values, [themes[sha256] for sha256 in members], RESAMPLES, 0))
