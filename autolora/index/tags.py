"""The tags of the adapters of an index, from the vectors of their weights."""

import logging
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from autolora.encoder.paths import folder as encoder_folder
from autolora.encoder.tags import Tag, TagTable, load_tags
from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import Index
from autolora.index.encoder_check import check_encoder
from autolora.index.store import TABLE, encoder_digests, folder
from autolora.storage.tables import read_arrow, read_where, to_matrix, version_of

COLUMNS = ("sha256", "encoder_weights", "weights_vector")

logger = logging.getLogger(__name__)


def read_tags(root: Path) -> dict[str, tuple[Tag, ...]]:
    """Return adapter -> its tags, most probable first; without adapters whose vectors another encoder computed.

    Empty if there is no index, or the encoder has no tags.
    """
    table = load_tags(encoder_folder(root))
    if table is None or version_of(folder(root), TABLE) is None:
        return {}
    rows = read_arrow(folder(root), TABLE, COLUMNS)
    rows = rows.filter(pc.equal(rows.column("encoder_weights"), encoder_digests(root)["encoder_weights"]))
    vectors = to_matrix(rows.column("weights_vector")).astype(np.float64)
    return dict(zip(rows.column("sha256").to_pylist(), table.tags(vectors), strict=True))


def read_tags_of(root: Path, adapter: str) -> tuple[Tag, ...]:
    """Return the tags of one adapter, as `read_tags`, without reading the vectors of the others."""
    table = load_tags(encoder_folder(root))
    if table is None or version_of(folder(root), TABLE) is None:
        return ()
    weights = encoder_digests(root)["encoder_weights"]
    rows = read_where(folder(root), TABLE, COLUMNS, "sha256", [adapter])
    vectors = [row["weights_vector"] for row in rows if row["encoder_weights"] == weights]
    return table.tags(np.array(vectors, dtype=np.float64))[0] if vectors else ()


def open_tags(root: Path, index: Index) -> TagTable | None:
    """Return the tags of the encoder that computed an opened index; None if the project has another one, or none."""
    try:
        check_encoder(root, index)
        return load_tags(encoder_folder(root))
    except (MissingArtifact, MismatchError) as error:
        logger.info("no tags: %s", error)
        return None
