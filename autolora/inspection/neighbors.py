"""The adapters of an index whose weights resemble a file's, and their captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autolora.catalog.names import full_name
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.index.copies import Index
from autolora.index.encoder_check import check_encoder
from autolora.index.served import open_index
from autolora.storage.arrays import Float64Array
from autolora.storage.tables import read_where


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbor:
    """An adapter of the index."""

    name: str
    """as `autolora show` accepts it, e.g. hub:id/file"""
    sha256: str
    cosine: float
    """of the two vectors of weights"""


class Neighbors:
    """The adapters of a project's served index, compared by the vectors of their weights."""

    def __init__(self, root: Path, index: Index) -> None:
        """index: of the project with this root."""
        self._root, self._index = root, index
        self._captions: dict[str, tuple[str, ...]] = {}

    def nearest(self, vector: Float64Array, k: int) -> list[Neighbor]:
        """Return the k adapters with the highest cosine to a unit vector (d,), best first."""
        positions, cosines = self._index.nearest_by_weights(vector.astype(np.float32), k)
        pairs = zip(positions.tolist(), cosines.tolist(), strict=True)
        return [self._neighbor(position, cosine) for position, cosine in pairs]

    def captions(self, adapters: Sequence[str]) -> list[str]:
        """Return the different captions of adapters (sha256); empty if the project has no dataset of captions."""
        unknown = [sha256 for sha256 in adapters if sha256 not in self._captions]
        if unknown:
            self._captions |= dict.fromkeys(unknown, ()) | self._read(unknown)
        return list(dict.fromkeys(text for sha256 in adapters for text in self._captions[sha256]))

    def _neighbor(self, position: int, cosine: float) -> Neighbor:
        row = self._index.rows[position]
        name = full_name(row["hub"], row["id"], row["file"])
        return Neighbor(name=name, sha256=row["sha256"], cosine=round(cosine, 3))

    def _read(self, adapters: Sequence[str]) -> dict[str, tuple[str, ...]]:
        folder = dataset.folder(self._root)
        try:
            rows = read_where(folder, "adapters", ["sha256", "renderings"], "sha256", list(adapters))
            images = sorted({image for row in rows for image in row["renderings"]})
            captions = read_where(folder, "captions", ["id", "image", "text"], "image", images)
        except MissingArtifact:
            return {}
        texts: dict[str, list[str]] = {}
        for caption in captions:
            texts.setdefault(caption["image"], []).append(caption["text"])
        return {
            row["sha256"]: tuple(text for image in row["renderings"] for text in texts.get(image, ()))
            for row in rows
        }


def open_neighbors(root: Path) -> Neighbors:
    """Return the adapters of a project's served index.

    Raises MissingArtifact if there is no index, MismatchError if other encoder weights than the project's computed it.
    """
    index = open_index(root)
    check_encoder(root, index)
    return Neighbors(root, index)
