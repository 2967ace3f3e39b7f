"""The encoder of a project, and whether it computed the vectors of an index."""

import json
from pathlib import Path

import pytest

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.encoder_check import check_encoder
from autolora.index.served import open_index
from autolora.models import ClipTextEncoder
from tests.support.hybrid_repo import write_hybrid
from tests.support.synthetic_repo import make_adapters


def test_the_encoder_of_all_vectors_is_expected(tmp_path: Path, text_encoder: ClipTextEncoder) -> None:
    write_hybrid(tmp_path, text_encoder, make_adapters(themes=("mosaic", "neon"), authors=(0, 1)))
    index, digest = open_index(tmp_path), tmp_path / "digests/encoder.json"
    stated = json.loads(digest.read_text())
    assert check_encoder(tmp_path, index) == stated["weights"]
    digest.write_text(json.dumps(stated | {"weights": "f" * 64}))
    with pytest.raises(MismatchError, match=r"but digests/encoder.json states f{12}: run `dvc repro index`"):
        check_encoder(tmp_path, index)
    for damaged in ("{", "[]", "null"):
        digest.write_text(damaged)
        with pytest.raises(MissingArtifact, match=r"digests/encoder.json is damaged .*`git checkout"):
            check_encoder(tmp_path, index)
    digest.unlink()
    with pytest.raises(MissingArtifact, match="dvc repro encoder"):
        check_encoder(tmp_path, index)
