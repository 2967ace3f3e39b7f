"""Inverted lists of a large index (IVF; Jégou et al. 2011): near vectors lie together, so a search reads a few lists.

Spherical k-means over a sample of the vectors gives the centroids; each vector belongs to the list of its nearest one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from autolora.storage.arrays import BoolArray, Float32Array, Int64Array

FILE = "lists.safetensors"
MIN_ROWS = 50_000
"""number of vectors from which lists are worth while: all of fewer are compared in 5 ms (`python -m bench.nearest`)"""
LISTS_PER_ROOT = 2
"""number of lists per square root of the number of vectors. Comparing with the centroids then costs an eighth of
comparing with the vectors of the chosen lists; with half as many lists, recall@10 is .05 lower at equal time"""
SAMPLES_PER_LIST, ITERATIONS, SEED = 32, 8, 0
"""of k-means"""
BLOCK = 10_000
"""vectors that are compared with all centroids at once"""
PROBES = 32
"""number of lists whose vectors are compared with a query: recall@10 above .98 in bench.nearest"""
MAX_EXACT = 10_000
"""if a filter lets at most this many rows pass, all of them are compared: in 3 ms"""
MIN_COMPARED, PER_HIT = 2_000, 20
"""minimum number of rows that are compared, and per wanted hit: the lists nearest to a query can hold few that pass"""

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class InvertedLists:
    """The lists of an index whose rows are sorted by list."""

    centroids: Float32Array
    """(L, d), unit vectors"""
    starts: Int64Array
    """(L + 1,) position of the first row of each list, and the number of rows"""

    def choose(self, query: Float32Array, k: int, mask: BoolArray | None) -> list[Range]:
        """Return the rows to compare with a query, as ranges of lists in the order of rows.

        Lists are taken by the cosine of their centroid. A filter that lets a share s pass makes the nearest rows that
        pass lie in more lists: 1/sqrt(s) times as many are taken, and more until there are enough rows to compare.
        """
        total = int(self.starts[-1])
        passing = total if mask is None else int(np.count_nonzero(mask))
        if passing <= max(MAX_EXACT, PER_HIT * k):
            return [(0, total)]
        probes, wanted = PROBES / (passing / total) ** 0.5, max(MIN_COMPARED, PER_HIT * k)
        chosen, found = [], 0
        for start, stop in self._by_similarity(query):
            chosen.append((start, stop))
            found += stop - start if mask is None else int(np.count_nonzero(mask[start:stop]))
            if len(chosen) >= probes and found >= wanted:
                break
        return sorted(chosen)

    def _by_similarity(self, query: Float32Array) -> Iterator[Range]:
        for number in np.argsort(-(self.centroids @ query), kind="stable"):
            yield int(self.starts[number]), int(self.starts[number + 1])


def build_lists(vectors: Float32Array) -> tuple[Int64Array, InvertedLists]:
    """Return the order (N,) in which rows are sorted by list, and the lists. vectors (N, d): unit vectors."""
    count = round(LISTS_PER_ROOT * len(vectors) ** 0.5)
    rng = np.random.default_rng(SEED)
    sample = np.sort(rng.choice(len(vectors), min(len(vectors), SAMPLES_PER_LIST * count), replace=False))
    centroids = _fit_centroids(vectors[sample], count, rng)
    lists = _assign(vectors, centroids)
    starts = np.concatenate(([0], np.cumsum(np.bincount(lists, minlength=count))))
    return np.argsort(lists, kind="stable"), InvertedLists(centroids, starts)


def write_lists(folder: Path, lists: InvertedLists) -> None:
    """Write the lists into the folder of a copy."""
    save_file({"centroids": lists.centroids, "starts": lists.starts}, folder / FILE)


def read_lists(folder: Path) -> InvertedLists | None:
    """Return the lists of a copy; None if it is small and has none. Raises ValueError if the file is damaged."""
    try:
        return InvertedLists(**load_file(folder / FILE)) if (folder / FILE).exists() else None
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"{FILE} is not valid: {error}") from error


def _fit_centroids(sample: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Return unit centroids (count, d); one whose list is empty stays as it is."""
    centroids = sample[rng.choice(len(sample), count, replace=False)]
    for _ in range(ITERATIONS):
        lists = _assign(sample, centroids)
        order = np.argsort(lists, kind="stable")
        used, starts = np.unique(lists[order], return_index=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        centroids[used] = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centroids


def _assign(vectors: Float32Array, centroids: Float32Array) -> Int64Array:
    """Return the number of the nearest centroid of each vector (N,)."""
    blocks = (vectors[start : start + BLOCK] for start in range(0, len(vectors), BLOCK))
    return np.concatenate([(block @ centroids.T).argmax(axis=1) for block in blocks])
