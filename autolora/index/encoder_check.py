"""The encoder whose vectors can be compared with those of an index."""

from pathlib import Path

import pyarrow.compute as pc

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.copies import Index
from autolora.index.store import encoder_digests


def check_encoder(root: Path, index: Index) -> str:
    """Return the hash of the weights of a project's encoder, which must have computed all vectors of an index.

    Raises MissingArtifact if the encoder does not exist or its digest is damaged, MismatchError if another one computed
    a vector.
    """
    try:
        weights = encoder_digests(root)["encoder_weights"]
    except (ValueError, AttributeError) as error:
        raise MissingArtifact(
            f"digests/encoder.json is damaged ({error}): restore it (`git checkout digests/encoder.json`)"
        ) from error
    others = set(pc.unique(index.rows.columns.column("encoder_weights")).to_pylist()) - {weights}
    if others:
        raise MismatchError(
            f"the index was computed with encoder weights {min(others)[:12]}, but digests/encoder.json states "
            f"{weights[:12]}: run `dvc repro index` (`autolora index` for your own files), or wait for the next refresh"
        )
    return weights
