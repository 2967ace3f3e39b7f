"""Who is like whom: cosines of adapters by the index's vectors and by their raw sketches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.dataset import store as dataset
from autolora.index import store as index
from autolora.metrics.bootstrap import estimate
from autolora.storage.tables import read_table, version_of

NEAREST = 4
BLOCK = 512
RESAMPLES = 2000

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Likeness:
    """Unit vectors of adapters, whose inner products say how alike they are."""

    adapters: tuple[str, ...]
    """sha256 (N,)"""
    vectors: Floats
    """(N, d)"""

    def among(self, adapters: Sequence[str]) -> "Likeness":
        """Return the same of these adapters only, in their order."""
        places = {sha256: place for place, sha256 in enumerate(self.adapters)}
        kept = [sha256 for sha256 in adapters if sha256 in places]
        rows = self.vectors[[places[sha256] for sha256 in kept]]
        return Likeness(adapters=tuple(kept), vectors=rows)

    def cosines(self) -> Floats:
        """Return the cosine of every two adapters (N, N)."""
        matrix: Floats = self.vectors @ self.vectors.T
        return matrix

    def nearest(self, k: int = NEAREST) -> dict[str, list[tuple[str, float]]]:
        """Return each adapter's k nearest others with their cosines, best first."""
        found = {}
        for start in range(0, len(self.adapters), BLOCK):
            alike = self.vectors[start : start + BLOCK] @ self.vectors.T
            alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
            order = np.argsort(-alike, axis=1, kind="stable")[:, : min(k, len(self.adapters) - 1)]
            for row, places in enumerate(order.tolist()):
                near = [(self.adapters[place], float(alike[row, place])) for place in places]
                found[self.adapters[start + row]] = near
        return found


def read_index(root: Path) -> Likeness | None:
    """Read the vectors of the working index; None where there is none yet."""
    if version_of(index.folder(root), index.TABLE) is None:
        return None
    rows = read_table(index.folder(root), index.TABLE, ["sha256", "vector"])
    return _likeness([(row["sha256"], row["vector"]) for row in rows])


def read_sketches(root: Path) -> Likeness | None:
    """Read the fingerprints of the sketches, whose inner products estimate theirs; None where there are none."""
    if version_of(dataset.folder(root), "adapters") is None:
        return None
    rows = read_table(dataset.folder(root), "adapters", ["sha256", "fingerprint"])
    return _likeness([(row["sha256"], row["fingerprint"]) for row in rows])


def read_copies(root: Path) -> dict[str, list[str]]:
    """Return adapter -> the others of its near-duplicate family, where it has any."""
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


def agreement(
    sources: Mapping[str, Likeness], themes: Mapping[str, str], unseen: Sequence[str]
) -> dict[str, Any]:
    """Return how often an adapter's nearest other has its theme: source -> metric -> estimate; with chance.

    Counted are adapters whose theme another adapter shares; intervals are over themes. Empty where none does.
    """
    judged = sorted(set.intersection(*({*one.adapters} for one in sources.values())) & themes.keys())
    sizes = {theme: sum(themes[one] == theme for one in judged) for theme in set(themes.values())}
    asked = [sha256 for sha256 in judged if sizes[themes[sha256]] > 1]
    of = {"all adapters": asked, "unseen adapters": [one for one in asked if one in set(unseen)]}
    same = {name: _same_theme(one.among(judged), themes) for name, one in sources.items()}
    same["chance"] = {one: (sizes[themes[one]] - 1) / (len(judged) - 1) for one in asked}
    names = {metric: members for metric, members in of.items() if members}
    return {
        source: {metric: _estimate(hits, members, themes) for metric, members in names.items()}
        for source, hits in same.items()
        if names
    }


def _likeness(rows: Sequence[tuple[str, Sequence[float]]]) -> Likeness | None:
    if not rows:
        return None
    vectors = np.array([vector for _, vector in rows], dtype=np.float64)
    norms = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return Likeness(adapters=tuple(sha256 for sha256, _ in rows), vectors=vectors / norms)


def _same_theme(likeness: Likeness, themes: Mapping[str, str]) -> dict[str, float]:
    near = likeness.nearest(1)
    return {one: float(bool(others) and themes[others[0][0]] == themes[one]) for one, others in near.items()}


def _estimate(hits: Mapping[str, float], members: Sequence[str], themes: Mapping[str, str]) -> dict[str, Any]:
    values = np.array([hits[sha256] for sha256 in members])
    return asdict(estimate(values, [themes[sha256] for sha256 in members], RESAMPLES, 0))
