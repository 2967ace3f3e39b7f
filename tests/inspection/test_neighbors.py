"""The adapters of an index whose weights resemble a file's, and their captions."""

import json
from pathlib import Path

import numpy as np
import pytest

from autolora.catalog.names import full_name
from autolora.errors import MismatchError, MissingArtifact
from autolora.index.served import open_index
from autolora.inspection.neighbors import Neighbors, open_neighbors
from autolora.models import ClipTextEncoder
from tests.support.hybrid_repo import write_hybrid
from tests.support.synthetic_repo import make_adapters


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, text_encoder: ClipTextEncoder) -> Path:
    """Return a repository whose index combines weights and captions."""
    root = tmp_path_factory.mktemp("repository")
    write_hybrid(root, text_encoder, make_adapters())
    return root


def test_adapter_is_nearest_to_its_own_vector(root: Path) -> None:
    index, neighbors = open_index(root), open_neighbors(root)
    for position, row in enumerate(index.rows):
        vector = index.weights_vectors[position].astype(np.float64)
        nearest = neighbors.nearest(vector / np.linalg.norm(vector), 3)
        assert nearest[0].sha256 == row["sha256"] and nearest[0].cosine == pytest.approx(1, abs=2e-3)
        assert nearest[0].name == full_name(row["hub"], row["id"], row["file"])
        assert [item.cosine for item in nearest] == sorted((item.cosine for item in nearest), reverse=True)


def test_captions_are_those_of_the_adapters(root: Path) -> None:
    expected = {
        adapter.listing.key: {caption.text for caption in adapter.captions} for adapter in make_adapters()
    }
    neighbors = open_neighbors(root)
    for row in open_index(root).rows:
        assert set(neighbors.captions([row["sha256"]])) == expected[row["sha256"]]
    both = [row["sha256"] for row in open_index(root).rows][:2]
    assert set(neighbors.captions(both)) == expected[both[0]] | expected[both[1]]
    assert neighbors.captions(["unknown"]) == []


def test_project_without_captions_has_none(root: Path, tmp_path: Path) -> None:
    assert Neighbors(tmp_path, open_index(root)).captions(["a"]) == []


def test_index_of_other_encoder_weights_is_not_compared(root: Path) -> None:
    path = root / "digests/encoder.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"weights": "other"}))
    with pytest.raises(MismatchError, match="computed with encoder weights"):
        open_neighbors(root)
    path.write_text(before)


def test_project_without_an_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact):
        open_neighbors(tmp_path)
