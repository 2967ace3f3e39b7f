"""How a search ranks adapters for captions of their renderings, each in the index without the described rendering."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autolora.dataset import store as dataset
from autolora.evaluation.benchmark import read_renderings
from autolora.index.copies import Index
from autolora.index.descriptions import texts_of, whole_text_of
from autolora.index.evidence import EvidenceReader
from autolora.index.store import CAPTIONS_VECTOR, TEXTS_TRUST
from autolora.matching.evidence import Evidence
from autolora.metrics.benchmark import Query
from autolora.metrics.retrieval import Relevant
from autolora.search.retriever import Retriever
from autolora.storage.arrays import Float64Array
from autolora.storage.files import Row


def search_ranks(
    retriever: Retriever,
    unseen: "WithoutRenderings",
    queries: tuple[Query, ...],
    relevant: Mapping[str, Relevant],
) -> dict[str, Float64Array]:
    """Return level -> rank (Q,) of each query's first relevant adapter in a search; nan without a relevant one.

    relevant: level -> positions in the index. An adapter of which nothing is known comes last.
    """
    ranks = {level: np.full(len(queries), np.nan) for level in relevant}
    for row, query in enumerate(queries):
        places = np.full(len(retriever.index.rows), len(retriever.index.rows))
        order = retriever.ranking(query.text, unseen.evidence(query))
        places[order] = np.arange(1, len(order) + 1)
        for level, positions in relevant.items():
            if len(positions[row]):
                ranks[level][row] = places[positions[row]].min()
    return ranks


@dataclass(frozen=True, slots=True, eq=False)
class WithoutRenderings:
    """The evidence of an index of which some adapters lack a rendering with its captions."""

    index: Index
    reader: EvidenceReader
    captions: Mapping[str, Mapping[str, tuple[str, ...]]]
    """adapter -> image -> its captions"""

    @classmethod
    def of(cls, root: Path, index: Index, reader: EvidenceReader) -> "WithoutRenderings":
        """Read the captions of an index's adapters."""
        captions, renderings = dataset.captions_by_image(root), read_renderings(root)
        return cls(
            index,
            reader,
            {
                sha256: {
                    image: tuple(caption.text for caption in captions[image])
                    for image in renderings[sha256]
                    if image in captions
                }
                for sha256 in index.rows.columns.column("sha256").to_pylist()
            },
        )

    def evidence(self, query: Query) -> Evidence | None:
        """Return the evidence without the rendering that a query describes; None if it is that of the index."""
        if self.index.language is None:
            return None
        owners = [sha256 for sha256 in query.adapters if query.image in self.captions[sha256]]
        if not owners:
            return None
        rows = self.index.find(owners)
        computed = [
            self._read(sha256, int(row), query.image) for sha256, row in zip(owners, rows, strict=True)
        ]
        captions, trust = self.index.evidence.captions.copy(), self.index.evidence.trust.copy()
        captions[rows] = [row[CAPTIONS_VECTOR] for row in computed]
        trust[rows] = [row[TEXTS_TRUST] for row in computed]
        return replace(self.index.evidence, captions=captions, trust=trust)

    def _read(self, sha256: str, position: int, image: str) -> Row:
        """Return the columns of an adapter without one of its images."""
        groups = [texts for other, texts in self.captions[sha256].items() if other != image]
        weights = np.array(self.index.weights_vectors[position])
        row = self.index.rows[position]
        return self.reader.read(weights, groups, texts_of(row), whole_text_of(row))
